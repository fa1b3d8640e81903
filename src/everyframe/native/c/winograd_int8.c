/* -- Winograd's transforms of bytes ---------------------------------------------------------------------------------------------- */

/* F(4x4, 3x3) in whole numbers, so that each byte is the one that the convolution itself makes. Bytes less their zero become numbers of
   16 bits, at most 20,400; the rows of a kernel are multiplied with 4, 6, 6, 24, 24 and 1, which makes them whole, and the way back
   with what is missing to 24, or to 12 or 6 where no more is needed. Products add up in 32 bits and may pass their limits: what is
   kept is right modulo 2**32, so that dividing by 9 is multiplying with its inverse, and by powers of 2 a shift, for sums below 2**25. */
typedef struct {
    form in, out, residual;
    int32_t across;
    ending ending;
} untile_bytes_layer;

typedef int16_t vs __attribute__((vector_size(2 * VL)));
typedef uint32_t vu __attribute__((vector_size(4 * VL)));

static inline vs words_of(const uint8_t *p) {
#if VL == 16 && defined(__AVX2__)
    return (vs)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
#elif VL == 8 && defined(__AVX2__)
    return (vs)_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p));
#else
    return __builtin_convertvector(*(const vb *)p, vs);
#endif
}

#define TILE_WORDS(d, s, o, t)                                                                      \
    do {                                                                                            \
        const vs a_ = d[4 * s] - d[2 * s] * 4, b_ = d[3 * s] - d[s] * 4;                            \
        const vs c_ = d[4 * s] - d[2 * s], e_ = (d[3 * s] - d[s]) * 2;                              \
        o[0] = (d[0] - d[2 * s]) * 4 + c_;                                                          \
        o[t] = a_ + b_;                                                                             \
        o[2 * t] = a_ - b_;                                                                         \
        o[3 * t] = c_ + e_;                                                                         \
        o[4 * t] = c_ - e_;                                                                         \
        o[5 * t] = (d[s] - d[3 * s]) * 4 + d[5 * s] - d[3 * s];                                     \
    } while (0)
/* 24, 12, 6 and 6 times what they stand for */
#define UNTILE_WORDS(d, s, o, t)                                                                    \
    do {                                                                                            \
        const vu a_ = d[s] + d[2 * s], b_ = d[s] - d[2 * s], c_ = d[3 * s] + d[4 * s], e_ = d[3 * s] - d[4 * s]; \
        o[0] = ((d[0] + a_) << 2) + (d[0] << 1) + c_;                                               \
        o[t] = (b_ << 1) + e_;                                                                      \
        o[2 * t] = a_ + c_;                                                                         \
        o[3 * t] = b_ + ((e_ + d[5 * s]) << 1) + (d[5 * s] << 2);                                   \
    } while (0)

/* Lines are a block of channels and a row of tiles. */
static void tile_bytes(const job *j, int part, int parts) {
    const tile_layer *k = j->layer;
    const int32_t down = k->out.width / k->across, lines = (k->in.channels + VL - 1) / VL * down;
    const vs zero = (vs){0} + (int16_t)k->zero;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / down, ty = line % down, y0 = ty * 4 - k->top;
        const uint8_t *in = (const uint8_t *)j->in[0] + (int64_t)block * k->in.plane;
        int16_t *out = (int16_t *)j->out + (int64_t)block * k->out.plane + (int64_t)ty * k->across * VL;
        for (int32_t tx = 0; tx < k->across; tx++, out += VL) {
            const int32_t x0 = tx * 4 - k->left;
            vs d[36], e[36];
            if (y0 >= 0 && x0 >= 0 && y0 + 6 <= k->in.height && x0 + 6 <= k->in.width) {
                const uint8_t *at = in + (int64_t)y0 * k->in.row + x0 * VL;
                UNROLL for (int y = 0; y < 6; y++) UNROLL for (int x = 0; x < 6; x++) d[y * 6 + x] = words_of(at + y * k->in.row + x * VL) - zero;
            } else
                for (int y = 0; y < 6; y++)
                    for (int x = 0; x < 6; x++) {
                        const int32_t row = y0 + y, column = x0 + x;
                        const int inside = row >= 0 && row < k->in.height && column >= 0 && column < k->in.width;
                        d[y * 6 + x] = inside ? words_of(in + (int64_t)row * k->in.row + column * VL) - zero : (vs){0};
                    }
            UNROLL for (int x = 0; x < 6; x++) TILE_WORDS((d + x), 6, (e + x), 6);
            UNROLL for (int y = 0; y < 6; y++) TILE_WORDS((e + y * 6), 1, (d + y * 6), 1);
            UNROLL for (int i = 0; i < 36; i++) *(vs *)(out + (int64_t)i * k->out.row) = d[i];
        }
    }
}

static void untile_bytes(const job *j, int part, int parts) {
    static const int powers[] = {3, 2, 1, 1};
    const untile_bytes_layer *k = j->layer;
    const ending *e = &k->ending;
    const int32_t down = k->in.width / k->across, lines = (k->out.channels + VL - 1) / VL * down;
    const vu ninth = (vu){0} + 0x38e38e39u;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / down, y0 = line % down * 4;
        const int32_t *in = (const int32_t *)j->in[0] + (int64_t)block * k->in.plane + (int64_t)(line % down) * k->across * VL;
        const vf scale = load(j->stream->weights + e->scale + block * VL), bias = load(j->stream->weights + e->bias + block * VL);
        for (int32_t tx = 0; tx < k->across; tx++, in += VL) {
            const int64_t at = (int64_t)block * k->out.plane + (int64_t)y0 * k->out.row + tx * 4 * VL;
            const int64_t rest_at = (int64_t)block * k->residual.plane + (int64_t)y0 * k->residual.row + tx * 4 * VL;
            const int32_t high = MIN(4, k->out.height - y0), wide = MIN(4, k->out.width - tx * 4);
            vu half[24];
            UNROLL for (int x = 0; x < 6; x++) {
                vu d[6];
                UNROLL for (int y = 0; y < 6; y++) d[y] = (vu)ints_of(in + (int64_t)(y * 6 + x) * k->in.row);
                UNTILE_WORDS(d, 1, (half + x), 6);
            }
            UNROLL for (int y = 0; y < 4; y++) {
                vu o[4];
                vi sum[4];
                UNTILE_WORDS((half + y * 6), 1, o, 1);
                UNROLL for (int x = 0; x < 4; x++) sum[x] = (vi)(o[x] * ninth) >> (powers[y] + powers[x]);
                if (e->plain && wide == 4) {
                    if (y < high) PUT_BYTES(4, 1, j->stream, block * VL, sum[p], scale, bias, j->out, at + y * k->out.row + p * VL)
                    continue;
                }
                vi kept[4];
                UNROLL for (int x = 0; x < 4; x++) kept[x] = sum[x];
                for (int x = 0; x < wide && y < high; x++) {
                    const void *rest = j->residual ? beyond(j->residual, rest_at + y * k->residual.row + x * VL, e->rest_packed) : NULL;
                    put(j->stream, e, block * VL, kept[x], rest, j->out, at + y * k->out.row + x * VL,
                        ended(e, values_of(kept[x]) * scale + bias, rest));
                }
            }
        }
    }
}
