/* -- depthwise convolution of bytes over several frames ------------------------------------------------------------------------ */

/* As for floats. rows_of_three: `taps` are rows of three places; the weights of one are four bytes a channel, at stride 1 once for a
   position and once, shifted by one, for the next. Else one int32 a channel and place. sums: of each source's weights. */
typedef struct {
    int32_t sources, taps, blocks, rows, columns, step, rows_of_three;
    uint32_t weights, sums, offsets, strides;
    int32_t out_block, out_row, residual_block, residual_row;
    ending ending;
} depthwise_int8_layer;
#define WEIGHTS_OF(k) ((k)->rows_of_three && (k)->step == VL ? 2 : 1)

/* VL channels of four positions: a lane gets its channel's four bytes. */
static inline vi across(const uint8_t *p) {
#if VL == 16 && defined(__AVX512BW__)
    const __m512i bytes = _mm512_loadu_si512(p);
#ifdef __AVX512VBMI__
    const vi order = {0x30201000, 0x31211101, 0x32221202, 0x33231303, 0x34241404, 0x35251505, 0x36261606, 0x37271707,
                      0x38281808, 0x39291909, 0x3a2a1a0a, 0x3b2b1b0b, 0x3c2c1c0c, 0x3d2d1d0d, 0x3e2e1e0e, 0x3f2f1f0f};
    return (vi)_mm512_permutexvar_epi8((__m512i)order, bytes);
#else
    const vi lanes = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    const vi turn = {0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703, 0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703,
                     0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703, 0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703};
    return (vi)_mm512_shuffle_epi8(_mm512_permutexvar_epi32((__m512i)lanes, bytes), (__m512i)turn);
#endif
#elif VL == 8 && defined(__AVX2__)
    const vi lanes = {0, 2, 4, 6, 1, 3, 5, 7};
    const vi turn = {0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703, 0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703};
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)p);
    return (vi)_mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(bytes, (__m256i)lanes), (__m256i)turn);
#elif VL == 4 && defined(__wasm_simd128__)
    const v128_t bytes = wasm_v128_load(p);
    return (vi)wasm_i8x16_shuffle(bytes, bytes, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#else
    vi made = isplat(0);
    for (int q = 0; q < 4; q++) made |= load_whole(p + q * VL) << (8 * q);
    return made;
#endif
}

/* P output positions of one row. `x`: per source, where the row's first position reads. */
#define DEPTHWISE_INT8_TILE(P)                                                                                     \
    static void depthwise_int8_##P(const depthwise_int8_layer *k, const int32_t *offsets, const uint8_t *const *x, \
                                   int64_t shift, const int32_t *w, vi start, vf scale, vf bias, void *out, const void *residual, \
                                   const ef_stream *stream, int32_t channel) {                                      \
        vi sum[P];                                                                                                 \
        for (int p = 0; p < P; p++) sum[p] = start;                                                                \
        for (int32_t s = 0; s < k->sources; s++) {                                                                 \
            if (!x[s]) {                                                                                           \
                w += k->taps * VL * WEIGHTS_OF(k);                                                                 \
                continue;                                                                                          \
            }                                                                                                      \
            const uint8_t *row = x[s] + shift;                                                                     \
            if (k->rows_of_three && k->step > VL) {                                                                \
                for (int32_t t = 0; t < k->taps; t++, w += VL) {                                                   \
                    const uint8_t *in = row + offsets[s * k->taps + t];                                            \
                    vi weight = ints_of(w);                                                                        \
                    PIN(weight);                                                                                   \
                    for (int p = 0; p < P; p++) sum[p] = dot_wide(sum[p], across(in + (int64_t)p * k->step), weight); \
                }                                                                                                  \
                continue;                                                                                          \
            }                                                                                                      \
            if (k->rows_of_three) {                                                                                \
                for (int32_t t = 0; t < k->taps; t++, w += 2 * VL) {                                               \
                    const uint8_t *in = row + offsets[s * k->taps + t];                                            \
                    vi here = ints_of(w), next = ints_of(w + VL);                                                  \
                    PIN(here);                                                                                     \
                    PIN(next);                                                                                     \
                    for (int p = 0; p < P; p += 2) {                                                               \
                        const vi four = across(in + p * VL);                                                       \
                        sum[p] = dot_wide(sum[p], four, here);                                                     \
                        if (p + 1 < P) sum[p + 1] = dot_wide(sum[p + 1], four, next);                              \
                    }                                                                                              \
                }                                                                                                  \
                continue;                                                                                          \
            }                                                                                                      \
            for (int32_t t = 0; t < k->taps; t++, w += VL) {                                                       \
                const vi weight = ints_of(w);                                                                      \
                const uint8_t *in = row + offsets[s * k->taps + t];                                                \
                for (int p = 0; p < P; p++) sum[p] = add_product(sum[p], load_whole(in + (int64_t)p * k->step), weight); \
            }                                                                                                      \
        }                                                                                                          \
        const ending *e = &k->ending;                                                                              \
        if (e->plain) {                                                                                            \
            PUT_BYTES(P, 1, stream, channel, sum[p], scale, bias, out, p * VL)                                     \
            return;                                                                                                \
        }                                                                                                          \
        vi kept[P];                                                                                                \
        UNROLL for (int p = 0; p < P; p++) kept[p] = sum[p];                                                       \
        for (int p = 0; p < P; p++) {                                                                              \
            const void *rest = residual ? beyond(residual, p * VL, e->rest_packed) : NULL;                         \
            put(stream, e, channel, kept[p], rest, out, p * VL, ended(e, values_of(kept[p]) * scale + bias, rest));\
        }                                                                                                          \
    }
DEPTHWISE_INT8_TILE(8)
DEPTHWISE_INT8_TILE(7)
DEPTHWISE_INT8_TILE(6)
DEPTHWISE_INT8_TILE(5)
DEPTHWISE_INT8_TILE(4)
DEPTHWISE_INT8_TILE(3)
DEPTHWISE_INT8_TILE(2)
DEPTHWISE_INT8_TILE(1)

typedef void (*depthwise_int8_tile)(const depthwise_int8_layer *, const int32_t *, const uint8_t *const *, int64_t, const int32_t *,
                                    vi, vf, vf, void *, const void *, const ef_stream *, int32_t);
static const depthwise_int8_tile depthwise_int8_tiles[] = {
    NULL, depthwise_int8_1, depthwise_int8_2, depthwise_int8_3, depthwise_int8_4, depthwise_int8_5, depthwise_int8_6,
    depthwise_int8_7, depthwise_int8_8,
};

static void depthwise_int8(const job *j, int part, int parts) {
    const depthwise_int8_layer *k = j->layer;
    const ending *e = &k->ending;
    const int32_t *offsets = ints(j->stream, k->offsets), *strides = ints(j->stream, k->strides), *sums = ints(j->stream, k->sums);
    const int32_t *weights = ints(j->stream, k->weights), each = k->sources * k->taps * VL * WEIGHTS_OF(k);
    const vi zero = isplat((k->rows_of_three ? INPUT_BIAS : 0) - e->zero);
    const int32_t lines = k->blocks * k->rows, tiles = (k->columns + 7) / 8, small = k->columns / tiles, large = k->columns - small * tiles;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / k->rows, y = line % k->rows;
        const uint8_t *x[EF_MAX_SOURCES];
        vi start = isplat(0);
        for (int32_t s = 0; s < k->sources; s++) {
            x[s] = NULL;
            if (!j->in[s]) continue;
            x[s] = (const uint8_t *)j->in[s] + (int64_t)block * strides[2 * s] + (int64_t)y * strides[2 * s + 1];
            start += ints_of(sums + (s * k->blocks + block) * VL) * zero;
        }
        const vf scale = load(j->stream->weights + k->ending.scale + block * VL), bias = load(j->stream->weights + k->ending.bias + block * VL);
        const int64_t at = (int64_t)block * k->out_block + (int64_t)y * k->out_row;
        const int64_t rest_at = (int64_t)block * k->residual_block + (int64_t)y * k->residual_row;
        int32_t column = 0;
        for (int32_t tile = 0; tile < tiles; tile++) {
            const int32_t width = small + (tile < large);
            const void *rest = j->residual ? beyond(j->residual, rest_at + column * VL, e->rest_packed) : NULL;
            depthwise_int8_tiles[width](k, offsets, x, (int64_t)column * k->step, weights + (int64_t)block * each, start, scale, bias,
                                        beyond(j->out, at + column * VL, e->packed), rest, j->stream, block * VL);
            column += width;
        }
    }
}
