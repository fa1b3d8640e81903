/* (C, 1, 1): sum, mean or maximum over the positions of quantized frames. Few values: bytes are made in double precision. */
typedef struct {
    reduce_layer reduce;
    float in_scale, in_zero, scale, zero;
    int32_t out_packed;
} reduce_int8_layer;

static void reduce_int8(const job *j, int part, int parts) {
    const reduce_int8_layer *q = j->layer;
    const reduce_layer *k = &q->reduce;
    const int32_t blocks = (k->in.channels + VL - 1) / VL, places = k->in.height * k->in.width * k->parts;
    for (int32_t block = begin(blocks, part, parts); block < begin(blocks, part + 1, parts); block++) {
        vf made = splat(0.0f);
        for (int32_t i = 0; i < k->parts; i++)
            for (int32_t y = 0; y < k->in.height; y++) {
                const uint8_t *row = (const uint8_t *)j->in[i] + (int64_t)block * k->in.plane + (int64_t)y * k->in.row;
                vf line = splat(0.0f);
                for (int32_t x = 0; x < k->in.width; x++) {
                    const vf value = load_bytes(row + x * VL);
                    line = k->kind == REDUCE_MAX ? vmax(line, value) : line + value;
                }
                made = k->kind == REDUCE_MAX ? vmax(made, line) : made + line;
            }
        made = made - splat(k->kind == REDUCE_MAX ? q->in_zero : q->in_zero * (float)places);
        if (q->out_packed) {
            uint8_t *bytes = (uint8_t *)j->out + block * VL;
            for (int i = 0; i < VL; i++) {
#if VL > 1
                double exact = (double)made[i];
#else
                double exact = (double)made;
#endif
                if (k->kind == REDUCE_MEAN) exact /= places;
                bytes[i] = (uint8_t)(int32_t)(d_steps(exact * q->in_scale, q->scale, q->zero) + (double)q->zero);
            }
            continue;
        }
        if (k->kind == REDUCE_MEAN) made = made / splat((float)places);
        store(j->out + block * VL, made * splat(q->in_scale));
    }
}
