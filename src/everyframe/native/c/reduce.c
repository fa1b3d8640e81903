/* -- sums and extremes of pictures --------------------------------------------------------------------------------------------- */

/* (C, 1, 1) of `parts` frames. */
enum { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD };
typedef struct {
    form in;
    int32_t parts, kind;
} reduce_layer;

static inline vf joined(int32_t kind, vf a, vf b) {
    switch (kind) {
    case REDUCE_MAX: return vmax(a, b);
    case REDUCE_MIN: return vmin(a, b);
    case REDUCE_PROD: return a * b;
    default: return a + b;
    }
}

static void reduce(const job *j, int part, int parts) {
    const reduce_layer *k = j->layer;
    const int32_t blocks = (k->in.channels + VL - 1) / VL;
    const float nothing[] = {0.0f, 0.0f, -INFINITY, INFINITY, 1.0f};
    const vf start = splat(nothing[k->kind]);
    for (int32_t block = begin(blocks, part, parts); block < begin(blocks, part + 1, parts); block++) {
        vf made = start;
        for (int32_t i = 0; i < k->parts; i++)
            for (int32_t y = 0; y < k->in.height; y++) {
                const float *row = j->in[i] + (int64_t)block * k->in.plane + (int64_t)y * k->in.row;
                vf one = start, two = start; /* two sums: additions wait for each other */
                int32_t x = 0;
                for (; x + 2 <= k->in.width; x += 2) {
                    one = joined(k->kind, one, load(row + x * VL));
                    two = joined(k->kind, two, load(row + (x + 1) * VL));
                }
                if (x < k->in.width) one = joined(k->kind, one, load(row + x * VL));
                made = joined(k->kind, made, joined(k->kind, one, two));
            }
        if (k->kind == REDUCE_MEAN) made = made / splat((float)k->in.height * k->in.width * k->parts);
        store(j->out + block * VL, made);
    }
}
