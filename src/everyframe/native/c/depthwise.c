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

/* P output positions of one row. `x`: per source, where the row's first position reads. */
#define DEPTHWISE_TILE(P)                                                                                           \
    static void depthwise_##P(const depthwise_layer *k, const int32_t *offsets, const float *const *x, int64_t shift,  \
                              const float *w, vf bias, float *out, const float *residual) {                         \
        vf sum[P];                                                                                                  \
        for (int p = 0; p < P; p++) sum[p] = bias;                                                                  \
        for (int32_t s = 0; s < k->sources; s++) {                                                                  \
            if (!x[s]) {                                                                                            \
                w += k->taps * VL;                                                                                  \
                continue;                                                                                           \
            }                                                                                                       \
            const float *row = x[s] + shift;                                                                        \
            if (k->square) {                                                                                        \
                for (int i = 0; i < 3; i++) {                                                                       \
                    const float *in = row + offsets[s * 9 + 3 * i];                                                 \
                    vf w0 = load(w), w1 = load(w + VL), w2 = load(w + 2 * VL);                                      \
                    PIN(w0); PIN(w1); PIN(w2);                                                                      \
                    for (int p = 0; p < P + 2; p++) {                                                               \
                        vf value = load(in + p * VL);                                                               \
                        PIN(value);                                                                                 \
                        if (p < P) sum[p] += value * w0;                                                            \
                        if (p > 0 && p <= P) sum[p - 1] += value * w1;                                              \
                        if (p > 1) sum[p - 2] += value * w2;                                                        \
                    }                                                                                               \
                    w += 3 * VL;                                                                                    \
                }                                                                                                   \
                continue;                                                                                           \
            }                                                                                                       \
            for (int32_t t = 0; t < k->taps; t++, w += VL) {                                                        \
                const vf weight = load(w);                                                                          \
                const float *in = row + offsets[s * k->taps + t];                                                   \
                for (int p = 0; p < P; p++) sum[p] += load(in + (int64_t)p * k->step) * weight;                     \
            }                                                                                                       \
        }                                                                                                           \
        for (int p = 0; p < P; p++)                                                                                 \
            store(out + p * VL, depthwise_end(k, sum[p], residual ? residual + p * VL : NULL));                     \
    }
DEPTHWISE_TILE(8)
DEPTHWISE_TILE(7)
DEPTHWISE_TILE(6)
DEPTHWISE_TILE(5)
DEPTHWISE_TILE(4)
DEPTHWISE_TILE(3)
DEPTHWISE_TILE(2)
DEPTHWISE_TILE(1)

typedef void (*depthwise_tile)(const depthwise_layer *, const int32_t *, const float *const *, int64_t, const float *, vf, float *, const float *);
static const depthwise_tile depthwise_tiles[] = {
    NULL, depthwise_1, depthwise_2, depthwise_3, depthwise_4, depthwise_5, depthwise_6, depthwise_7, depthwise_8,
};

static void depthwise(const job *j, int part, int parts) {
    const depthwise_layer *k = j->layer;
    const int32_t *offsets = ints(j->stream, k->offsets), *strides = ints(j->stream, k->strides);
    const int32_t rows = j->rows ? j->rows : k->rows, lines = k->blocks * rows, tiles = (k->columns + 7) / 8, small = k->columns / tiles, large = k->columns - small * tiles;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / rows, y = j->first + line % rows;
        const float *x[EF_MAX_SOURCES];
        for (int32_t s = 0; s < k->sources; s++)
            x[s] = j->in[s] ? j->in[s] + (int64_t)block * strides[2 * s] + (int64_t)y * strides[2 * s + 1] : NULL;
        const float *w = j->stream->weights + k->weights + (int64_t)block * k->sources * k->taps * VL;
        const vf bias = load(j->stream->weights + k->bias + block * VL);
        float *out = j->out + (int64_t)block * k->out_block + (int64_t)y * k->out_row;
        const float *residual = j->residual ? j->residual + (int64_t)block * k->residual_block + (int64_t)y * k->residual_row : NULL;
        int32_t column = 0;
        for (int32_t tile = 0; tile < tiles; tile++) {
            const int32_t width = small + (tile < large);
            depthwise_tiles[width](k, offsets, x, (int64_t)column * k->step, w, bias, out + column * VL, residual ? residual + column * VL : NULL);
            column += width;
        }
    }
}
