/* -- means of pictures -------------------------------------------------------------------------------------------------------- */

/* (C, 1, 1) of `parts` frames. */
enum { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX };
typedef struct {
    form in;
    int32_t parts, kind;
} reduce_layer;

static void reduce(const job *j, int part, int parts) {
    const reduce_layer *k = j->layer;
    const int32_t blocks = (k->in.channels + VL - 1) / VL;
    for (int32_t block = begin(blocks, part, parts); block < begin(blocks, part + 1, parts); block++) {
        vf made = splat(k->kind == REDUCE_MAX ? -INFINITY : 0.0f);
        for (int32_t i = 0; i < k->parts; i++)
            for (int32_t y = 0; y < k->in.height; y++) {
                const float *row = j->in[i] + (int64_t)block * k->in.plane + (int64_t)y * k->in.row;
                vf one = splat(k->kind == REDUCE_MAX ? -INFINITY : 0.0f), two = one; /* two sums: additions wait for each other */
                int32_t x = 0;
                for (; x + 2 <= k->in.width; x += 2) {
                    const vf first = load(row + x * VL), second = load(row + (x + 1) * VL);
                    one = k->kind == REDUCE_MAX ? vmax(one, first) : one + first;
                    two = k->kind == REDUCE_MAX ? vmax(two, second) : two + second;
                }
                if (x < k->in.width) one = k->kind == REDUCE_MAX ? vmax(one, load(row + x * VL)) : one + load(row + x * VL);
                made = k->kind == REDUCE_MAX ? vmax(made, vmax(one, two)) : made + (one + two);
            }
        if (k->kind == REDUCE_MEAN) made = made / splat((float)k->in.height * k->in.width * k->parts);
        store(j->out + block * VL, made);
    }
}
