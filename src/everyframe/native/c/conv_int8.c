/* -- convolution of bytes by tables ------------------------------------------------------------------------------------------- */

/* As for floats, but an entry is an offset to four channels of a position and four weights for each output channel. sums: of each
   source's weights, for each output channel: what its zeros add is taken off where a sum begins. bounds: of each source, its first
   entry and the first that needs dot_wide; at last the end. */
typedef struct {
    int32_t sources, groups, positions, block, longest, out_block, residual_block;
    uint32_t group_rows, bounds, offsets, weights, sums, at, residual_at;
    const int32_t *in_at;
    ending ending;
} conv_int8_layer;

/* A group: its weights and where its channels are. */
typedef struct {
    const conv_int8_layer *layer;
    const ef_stream *stream;
    const float *const *in;
    void *out;
    const void *residual;
    const float *scale, *bias;
    const int32_t *sums, *bounds, *offsets;
    const int8_t *weights;
    int32_t channel, channels; /* the first one; of all groups, in `sums` */
} tile_int8;

#define CONV_INT8_ENTRY(H, P, DOT)                                                                                 \
    {                                                                                                              \
        const int64_t offset = j->offsets[i];                                                                      \
        vi weight[H];                                                                                              \
        for (int h = 0; h < H; h++) {                                                                              \
            weight[h] = ints_of((const int32_t *)(w + h * VL * 4));                                                \
            PIN(weight[h]);                                                                                        \
        }                                                                                                          \
        for (int p = 0; p < P; p++) {                                                                              \
            vi four = isplat(*(const int32_t *)(x[p] + offset));                                                   \
            PIN(four);                                                                                             \
            for (int h = 0; h < H; h++) sum[p][h] = DOT(sum[p][h], four, weight[h]);                               \
        }                                                                                                          \
    }

#define CONV_INT8_TILE(H, P)                                                                                       \
    static void conv_int8_##H##x##P(const tile_int8 *j, int32_t position, int32_t tiles) {                         \
        const conv_int8_layer *k = j->layer;                                                                       \
        const ending *e = &k->ending;                                                                              \
        const int32_t *at = ints(j->stream, k->at), *rest_at = ints(j->stream, k->residual_at);                    \
        const vi zero = isplat(INPUT_BIAS - e->zero);                                                              \
        vf scale[H], bias[H];                                                                                      \
        for (int h = 0; h < H; h++) {                                                                              \
            scale[h] = load(j->scale + h * VL);                                                                    \
            bias[h] = load(j->bias + h * VL);                                                                      \
        }                                                                                                          \
        for (; tiles > 0; tiles--, position += P) {                                                                \
            vi sum[P][H];                                                                                          \
            for (int p = 0; p < P; p++)                                                                            \
                for (int h = 0; h < H; h++) sum[p][h] = isplat(0);                                                 \
            for (int32_t s = 0; s < k->sources; s++) {                                                             \
                if (!j->in[s]) continue;                                                                           \
                const int32_t *in_at = ints(j->stream, (uint32_t)k->in_at[s]) + position;                          \
                const uint8_t *x[P];                                                                               \
                for (int p = 0; p < P; p++) x[p] = (const uint8_t *)j->in[s] + in_at[p];                           \
                for (int h = 0; h < H; h++) {                                                                      \
                    const vi off = ints_of(j->sums + (int64_t)s * j->channels + h * VL) * zero;                    \
                    for (int p = 0; p < P; p++) sum[p][h] += off;                                                  \
                }                                                                                                  \
                const int8_t *w = j->weights + (int64_t)j->bounds[2 * s] * (H * VL * 4);                           \
                int32_t i = j->bounds[2 * s];                                                                      \
                for (; i < j->bounds[2 * s + 1]; i++, w += H * VL * 4) CONV_INT8_ENTRY(H, P, dot)                  \
                for (; i < j->bounds[2 * s + 2]; i++, w += H * VL * 4) CONV_INT8_ENTRY(H, P, dot_wide)             \
            }                                                                                                      \
            if (e->plain) {                                                                                        \
                PUT_BYTES(P, H, j->stream, j->channel, sum[p][h], scale[h], bias[h], j->out,                       \
                          at[position + p] + (int64_t)h * k->out_block)                                            \
                continue;                                                                                          \
            }                                                                                                      \
            vi kept[P][H];                                                                                         \
            UNROLL for (int p = 0; p < P; p++)                                                                     \
                UNROLL for (int h = 0; h < H; h++) kept[p][h] = sum[p][h];                                         \
            for (int p = 0; p < P; p++)                                                                            \
                for (int h = 0; h < H; h++) {                                                                      \
                    const void *rest = NULL;                                                                       \
                    if (j->residual)                                                                               \
                        rest = beyond(j->residual, rest_at[position + p] + (int64_t)h * k->residual_block, e->rest_packed);\
                    const vf made = ended(e, values_of(kept[p][h]) * scale[h] + bias[h], rest);                    \
                    put(j->stream, e, j->channel + h * VL, kept[p][h], rest, j->out, at[position + p] + (int64_t)h * k->out_block, made);\
                }                                                                                                  \
        }                                                                                                          \
    }
