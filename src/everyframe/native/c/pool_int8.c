/* -- pools of bytes ------------------------------------------------------------------------------------------------------------ */

/* Frames before or behind the pool are quantized. same: both are, in one way, and what is largest is so as a byte. */
typedef struct {
    pool_layer pool;
    int32_t in_packed, out_packed, same;
    float in_scale, in_zero, inverse, zero, scale, middle;
} pool_int8_layer;

static inline vf pool_load(const pool_int8_layer *q, const float *in, int64_t at) {
    return q->in_packed ? load_bytes((const uint8_t *)in + at) : load(in + at);
}

static void pooling_int8(const job *j, int part, int parts) {
    const pool_int8_layer *q = j->layer;
    const pool_layer *k = &q->pool;
    const int32_t blocks = (k->out.channels + VL - 1) / VL, lines = blocks * k->out.height;
    const vf least = splat(-q->zero), most = splat(255.0f - q->zero);
    const vi zero = whole(splat(q->zero));
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / k->out.height, y = line % k->out.height, y0 = y * k->stride_h - k->top;
        const span rows = inside(y0, k->kernel_h, k->dilation_h, k->in.height, k->bottom);
        const int64_t first = (int64_t)block * k->in.plane + (int64_t)y0 * k->in.row;
        const int64_t out = (int64_t)block * k->out.plane + (int64_t)y * k->out.row;
        for (int32_t x = 0; x < k->out.width; x++) {
            const int32_t x0 = x * k->stride_w - k->left;
            const span columns = inside(x0, k->kernel_w, k->dilation_w, k->in.width, k->right);
            const int32_t places = (rows.end - rows.begin) * (columns.end - columns.begin);
#if VL > 1
            if (q->same && places) {
                vb made = {0};
                for (int32_t i = 0; i < k->parts; i++)
                    for (int32_t a = rows.begin; a < rows.end; a++) {
                        const uint8_t *row = (const uint8_t *)j->in[i] + first + (int64_t)a * k->dilation_h * k->in.row + (int64_t)x0 * VL;
                        for (int32_t b = columns.begin; b < columns.end; b++)
                            made = larger(made, *(const vb *)(row + (int64_t)b * k->dilation_w * VL));
                    }
                *(vb *)((uint8_t *)j->out + out + x * VL) = made;
                continue;
            }
#endif
            vf made = splat(k->average ? 0.0f : -INFINITY);
            for (int32_t i = 0; i < k->parts; i++)
                for (int32_t a = rows.begin; a < rows.end; a++) {
                    const int64_t row = first + (int64_t)a * k->dilation_h * k->in.row + (int64_t)x0 * VL;
                    for (int32_t b = columns.begin; b < columns.end; b++) {
                        const vf value = pool_load(q, j->in[i], row + (int64_t)b * k->dilation_w * VL);
                        made = k->average ? made + value : vmax(made, value);
                    }
                }
            const int32_t over = k->average ? (k->count_pads ? rows.counted * columns.counted : places) * k->depth : 1;
            const float zeros = k->average ? q->in_zero * (float)(places * k->parts) : q->in_zero;
            const vf sum = made - splat(zeros);
            made = sum * splat(q->in_scale);
            if (k->average) made = made / splat((float)over);
            if (q->out_packed) {
                uint8_t *bytes = (uint8_t *)j->out + out + x * VL;
                made = vmin(most, vmax(least, made * splat(q->inverse)));
                store_bytes(bytes, made, zero);
                for (uint32_t lanes = lanes_of(doubts_of(made, doubt_at(q->middle))); UNLIKELY(lanes); lanes &= lanes - 1) {
                    const int i = __builtin_ctz(lanes);
#if VL > 1
                    const double exact = (double)sum[i];
#else
                    const double exact = (double)sum;
#endif
                    bytes[i] = (uint8_t)(int32_t)(d_steps(exact / over * q->in_scale, q->scale, q->zero) + (double)q->zero);
                }
            }
            else store(j->out + out + x * VL, made);
        }
    }
}
