/* -- depthwise convolution over several frames ------------------------------------------------------------------------------ */

/* offsets: per source, of each kernel place. strides: per source, (block of channels, output row). weights: per block, source and
   place one vector. step: floats from one output position's input to the next. */
typedef struct {
    int32_t sources, taps, blocks, rows, columns, step, square;
    uint32_t weights, bias, offsets, strides;
    int32_t out_block, out_row, residual_block, residual_row;
    int32_t activation, residual_last;
    float low, high;
} depthwise_layer;

static inline vf depthwise_end(const depthwise_layer *k, vf sum, const float *residual) {
    if (residual && !k->residual_last) sum += load(residual);
    if (k->activation) sum = activate(k->activation, sum);
    sum = vmin(splat(k->high), vmax(splat(k->low), sum));
    if (residual && k->residual_last) sum += load(residual);
    return sum;
}

/* `tiles` tiles of P output positions of one row. `x`: per source, where the row's first position reads; S: for a kernel of 3x3 how far its
   positions are apart, 0 for all others. */
#define DEPTHWISE_TILE(P, S)                                                                                        \
    static void depthwise_##P##_##S(const depthwise_layer *k, const int32_t *offsets, const float *const *x, const float *weights, vf bias, \
                                    float *out, const float *residual, int32_t column, int32_t tiles) {             \
        for (; tiles > 0; tiles--, column += P) {                                                                   \
            const float *w = weights;                                                                               \
            vf sum[P];                                                                                              \
            for (int p = 0; p < P; p++) sum[p] = bias;                                                              \
            for (int32_t s = 0; s < k->sources; s++) {                                                              \
                if (!x[s]) {                                                                                        \
                    w += k->taps * VL;                                                                              \
                    continue;                                                                                       \
                }                                                                                                   \
                const float *row = x[s] + (int64_t)column * (S ? S * VL : k->step);                                 \
                if (S) {                                                                                            \
                    for (int i = 0; i < 3; i++, w += 3 * VL) {                                                      \
                        const float *in = row + offsets[s * 9 + 3 * i];                                             \
                        vf w0 = load(w), w1 = load(w + VL), w2 = load(w + 2 * VL);                                  \
                        PIN(w0); PIN(w1); PIN(w2);                                                                  \
                        UNROLL for (int v = 0; v < (P - 1) * S + 3; v++) {                                          \
                            vf value = load(in + v * VL);                                                           \
                            PIN(value);                                                                             \
                            if (v % (S + !S) == 0 && v < P * S) sum[v / (S + !S)] += value * w0;                    \
                            if (v > 0 && (v - 1) % (S + !S) == 0 && v - 1 < P * S) sum[(v - 1) / (S + !S)] += value * w1; \
                            if (v > 1 && v % (S + !S) == 0) sum[(v - 2) / (S + !S)] += value * w2;                  \
                        }                                                                                           \
                    }                                                                                               \
                    continue;                                                                                       \
                }                                                                                                   \
                for (int32_t t = 0; t < k->taps; t++, w += VL) {                                                    \
                    const vf weight = load(w);                                                                      \
                    const float *in = row + offsets[s * k->taps + t];                                               \
                    for (int p = 0; p < P; p++) sum[p] += load(in + (int64_t)p * k->step) * weight;                 \
                }                                                                                                   \
            }                                                                                                       \
            for (int p = 0; p < P; p++)                                                                             \
                store(out + (column + p) * VL, depthwise_end(k, sum[p], residual ? residual + (column + p) * VL : NULL)); \
        }                                                                                                           \
    }
typedef void (*depthwise_tile)(const depthwise_layer *, const int32_t *, const float *const *, const float *, vf, float *, const float *, int32_t, int32_t);
