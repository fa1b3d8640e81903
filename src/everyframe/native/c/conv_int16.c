/* -- products of transformed frames of bytes -------------------------------------------------------------------------------------- */

/* As convolution of bytes, but an entry is an offset to two channels of a position, numbers of 16 bits, and two weights for each output
   channel, and rows have weights of their own: row_weights bytes apart. What is stored are sums, modulo 2**32. */
typedef struct {
    int32_t sources, groups, rows, columns, longest, row_weights, out_block, out_row, in_row;
    uint32_t group_rows, bounds, offsets, weights;
} conv_int16_layer;

typedef struct {
    const conv_int16_layer *layer;
    const float *const *in;
    int32_t *out;
    const int32_t *bounds, *offsets;
    const int8_t *weights;
    int32_t row;
} tile_int16;

#define CONV_INT16_TILE(H, P)                                                                                      \
    static void conv_int16_##H##x##P(const tile_int16 *j, int32_t position, int32_t tiles) {                       \
        const conv_int16_layer *k = j->layer;                                                                      \
        for (; tiles > 0; tiles--, position += P) {                                                                \
            vi sum[P][H];                                                                                          \
            for (int p = 0; p < P; p++)                                                                            \
                for (int h = 0; h < H; h++) sum[p][h] = isplat(0);                                                 \
            for (int32_t s = 0; s < k->sources; s++) {                                                             \
                if (!j->in[s]) continue;                                                                           \
                const uint8_t *in = (const uint8_t *)j->in[s] + (int64_t)j->row * k->in_row + position * (2 * VL); \
                const int8_t *w = j->weights + (int64_t)j->bounds[s] * (H * VL * 4);                               \
                for (int32_t i = j->bounds[s]; i < j->bounds[s + 1]; i++, w += H * VL * 4) {                       \
                    const uint8_t *x = in + j->offsets[i];                                                         \
                    vi weight[H];                                                                                  \
                    for (int h = 0; h < H; h++) {                                                                  \
                        weight[h] = ints_of((const int32_t *)(w + h * VL * 4));                                    \
                        PIN(weight[h]);                                                                            \
                    }                                                                                              \
                    for (int p = 0; p < P; p++) {                                                                  \
                        vi two = isplat(*(const int32_t *)(x + p * (2 * VL)));                                     \
                        PIN(two);                                                                                  \
                        for (int h = 0; h < H; h++) sum[p][h] = add_product(sum[p][h], two, weight[h]);            \
                    }                                                                                              \
                }                                                                                                  \
            }                                                                                                      \
            int32_t *out = j->out + position * VL;                                                                 \
            for (int p = 0; p < P; p++)                                                                            \
                for (int h = 0; h < H; h++) *(vi *)(out + p * VL + (int64_t)h * k->out_block) = sum[p][h];         \
        }                                                                                                          \
    }
