/* -- from sums of integers to what is stored --------------------------------------------------------------------------------- */

/* value = sum * scale + bias, residual, activation, limits; then bytes if packed. direct: these are numbers of steps of the result
   already, and the limits those of a byte; plain: nothing else is between sums and bytes, and no number is too large for a whole
   one, so that a conversion cuts off. zero: of what the convolution reads. middle: where floats may be wrong about
   a byte; exact_scale, exact_bias, least, most, step: of values, for those. */
typedef struct {
    int32_t zero, packed, direct, plain, out_zero, rest_packed, activation, residual_last;
    uint32_t scale, bias, exact_scale, exact_bias;
    float low, high, inverse, rest_scale, rest_zero, middle;
    double least, most, step, rest_step;
} ending;

/* rest: the residual's VL channels, or NULL. */
static inline vf ended(const ending *e, vf x, const void *rest) {
    const vf added = rest ? ((e->rest_packed ? load_bytes(rest) : load(rest)) - splat(e->rest_zero)) * splat(e->rest_scale) : splat(0.0f);
    if (rest && !e->residual_last) x += added;
    if (e->activation) x = activate(e->activation, x);
    x = vmin(splat(e->high), vmax(splat(e->low), x));
    if (rest && e->residual_last) x += added;
    if (e->packed && !e->direct)
        x = vmin(splat(255.0f - (float)e->out_zero), vmax(splat(-(float)e->out_zero), x * splat(e->inverse)));
    return x;
}

static double activated_exactly(int32_t which, double x) {
    switch (which) {
    case ACT_SIGMOID: return d_sigmoid(x);
    case ACT_SILU: return d_silu(x);
    case ACT_TANH: return d_tanh(x);
    case ACT_HARDSWISH: return d_hardswish(x);
    case ACT_RELU6: return d_relu6(x);
    default: return x;
    }
}

/* Some of VL bytes again, in double precision. channel: the first one. */
static __attribute__((noinline, cold)) void put_exactly(const ef_stream *s, const ending *e, int32_t channel, vi sums, const void *rest,
                                                        uint8_t *out, uint32_t lanes) {
    const double *scale = (const double *)(s->weights + e->exact_scale) + channel, *bias = (const double *)(s->weights + e->exact_bias) + channel;
    for (; lanes; lanes &= lanes - 1) {
        const int i = __builtin_ctz(lanes);
#if VL > 1
        const int32_t sum = sums[i];
#else
        const int32_t sum = sums;
#endif
        double added = 0;
        if (rest) added = e->rest_packed ? ((double)((const uint8_t *)rest)[i] - (double)e->rest_zero) * e->rest_step : (double)((const float *)rest)[i];
        double x = (double)sum * scale[i] + bias[i];
        if (!e->residual_last) x += added;
        x = d_min(e->most, d_max(e->least, activated_exactly(e->activation, x)));
        if (e->residual_last) x += added;
        out[i] = (uint8_t)(int32_t)(d_steps(x, e->step, e->out_zero) + e->out_zero);
    }
}

/* x: what `ended` makes of the sums. at: values from the beginning of `out`. */
static inline void put(const ef_stream *s, const ending *e, int32_t channel, vi sums, const void *rest, void *out, int64_t at, vf x) {
    if (!e->packed) {
        store((float *)out + at, x);
        return;
    }
#if VL > 1
    store_bytes((uint8_t *)out + at, x, isplat(e->out_zero));
#else
    store_bytes((uint8_t *)out + at, x, e->out_zero);
#endif
    const uint32_t lanes = lanes_of(doubts_of(x, doubt_at(e->middle)));
    if (UNLIKELY(lanes)) put_exactly(s, e, channel, sums, rest, (uint8_t *)out + at, lanes);
}

#if VL > 1
/* Again, those of `count` vectors that floats cannot decide, in rows of `row` vectors of channels. start: as PUT_BYTES has it. */
static __attribute__((noinline, cold)) void put_doubtful(const ef_stream *s, const ending *e, int32_t channel, int count, int row,
                                                         const vi *sums, const vf *scale, const vf *start, uint8_t *const *to) {
    for (int i = 0; i < count; i++) {
        const int h = i % row;
        const uint32_t lanes = lanes_of(doubts_of(values_of(sums[i]) * scale[h] + start[h], doubt_at(e->middle)));
        if (lanes) put_exactly(s, e, channel + h * VL, sums[i], NULL, to[i], lanes);
    }
}

/* The bytes of P positions and H vectors of channels of a plain ending. SUM, SCALE, BIAS, AT (values from the beginning of `out`):
   expressions of p and h. A macro whose loops are unrolled: an index that is not a number would keep all sums in memory. */
#define PUT_BYTES(P, H, STREAM, CHANNEL, SUM, SCALE, BIAS, OUT, AT)                                                \
    {                                                                                                              \
        const doubt middle = doubt_at(e->middle);                                                                  \
        doubts found = {0};                                                                                        \
        vf by[H], start[H];                                                                                        \
        UNROLL for (int h = 0; h < H; h++) {                                                                       \
            by[h] = SCALE;                                                                                         \
start[h] = BIAS + splat((float)e->out_zero);                                                           \
        }                                                                                                          \
        UNROLL for (int q = 0; q < P; q += CUT_SIDE)                                                               \
            UNROLL for (int h = 0; h < H; h++) {                                                                   \
                vf made[4];                                                                                        \
                uint8_t *to[4];                                                                                    \
                UNROLL for (int n = 0; n < CUT_SIDE; n++) {                                                        \
                    const int p = q + n;                                                                           \
                    if (p >= P) continue;                                                                          \
                    made[n] = values_of(SUM) * by[h] + start[h];                                                   \
                    to[n] = (uint8_t *)(OUT) + (AT);                                                               \
                    found |= doubts_of(made[n], middle);                                                           \
                }                                                                                                  \
                if (q + 4 <= P && CUT_SIDE == 4) store_cut_four(to, made);                                         \
                else if (q + 2 <= P) {                                                                             \
                    store_cut_both(to[0], made[0], to[1], made[1]);                                                \
                    if (q + 3 == P && CUT_SIDE == 4) store_cut(to[2], made[2]);                                    \
                } else store_cut(to[0], made[0]);                                                                  \
            }                                                                                                      \
        if (UNLIKELY(lanes_of(found))) {                                                                           \
            vi kept[(P) * (H)];                                                                                    \
            uint8_t *to[(P) * (H)];                                                                                \
            UNROLL for (int p = 0; p < P; p++)                                                                     \
                UNROLL for (int h = 0; h < H; h++) {                                                               \
                    kept[p * (H) + h] = SUM;                                                                       \
                    to[p * (H) + h] = (uint8_t *)(OUT) + (AT);                                                     \
                }                                                                                                  \
            put_doubtful(STREAM, e, CHANNEL, (P) * (H), H, kept, by, start, to);                                   \
        }                                                                                                          \
    }
#endif

/* A place in a frame of bytes or floats. */
static inline void *beyond(const void *frame, int64_t values, int32_t packed) {
    return (uint8_t *)frame + (packed ? values : 4 * values);
}

#if VL > 1
/* -- products of bytes ------------------------------------------------------------------------------------------------------- */

/* dot: each of VL lanes holds four bytes without sign (x) and four with (w); their products are added to the lane's sum. dot_wide is
   exact for all weights, dot where no two neighbors of w sum to more than 128. Both take x - INPUT_BIAS. add_product: of two numbers
   of 16 bits in each lane (x86 and WebAssembly; elsewhere of one of 32), modulo 2**32. */
#if VL == 16 && defined(__AVX512VNNI__)
#define INPUT_BIAS 0
static inline vi dot(vi sum, vi x, vi w) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w); }
#define dot_wide dot
static inline vi add_product(vi sum, vi x, vi w) { return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)x, (__m512i)w); }
#elif VL == 16 && defined(__AVX512BW__)
#define INPUT_BIAS 0
static inline vi add_product(vi sum, vi x, vi w) { return (vi)_mm512_add_epi32((__m512i)sum, _mm512_madd_epi16((__m512i)x, (__m512i)w)); }
static inline vi dot(vi sum, vi x, vi w) {
    return add_product(sum, (vi)_mm512_maddubs_epi16((__m512i)x, (__m512i)w), (vi)_mm512_set1_epi16(1));
}
static inline vi dot_wide(vi sum, vi x, vi w) {
    const vi even = (vi)_mm512_srai_epi16(_mm512_slli_epi16((__m512i)w, 8), 8), odd = (vi)_mm512_srai_epi16((__m512i)w, 8);
    sum = add_product(sum, x & isplat(0x00ff00ff), even);
    return add_product(sum, (vi)_mm512_srli_epi16((__m512i)x, 8), odd);
}
#elif VL == 8 && ((defined(__AVX512VNNI__) && defined(__AVX512VL__)) || defined(__AVXVNNI__))
#define INPUT_BIAS 0
#ifdef __AVXVNNI__
#define VNNI(name) _mm256_##name##_avx_epi32
#else
#define VNNI(name) _mm256_##name##_epi32
#endif
static inline vi dot(vi sum, vi x, vi w) { return (vi)VNNI(dpbusd)((__m256i)sum, (__m256i)x, (__m256i)w); }
#define dot_wide dot
static inline vi add_product(vi sum, vi x, vi w) { return (vi)VNNI(dpwssd)((__m256i)sum, (__m256i)x, (__m256i)w); }
#elif VL == 8 && defined(__AVX2__)
#define INPUT_BIAS 0
static inline vi add_product(vi sum, vi x, vi w) { return (vi)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16((__m256i)x, (__m256i)w)); }
static inline vi dot(vi sum, vi x, vi w) {
    return add_product(sum, (vi)_mm256_maddubs_epi16((__m256i)x, (__m256i)w), (vi)_mm256_set1_epi16(1));
}
static inline vi dot_wide(vi sum, vi x, vi w) {
    const vi even = (vi)_mm256_srai_epi16(_mm256_slli_epi16((__m256i)w, 8), 8), odd = (vi)_mm256_srai_epi16((__m256i)w, 8);
    sum = add_product(sum, x & isplat(0x00ff00ff), even);
    return add_product(sum, (vi)_mm256_srli_epi16((__m256i)x, 8), odd);
}
#elif VL == 4 && defined(__ARM_FEATURE_MATMUL_INT8)
#define INPUT_BIAS 0
static inline vi dot(vi sum, vi x, vi w) { return (vi)vusdotq_s32((int32x4_t)sum, (uint8x16_t)x, (int8x16_t)w); }
#define dot_wide dot
static inline vi add_product(vi sum, vi x, vi w) { return sum + x * w; }
#elif VL == 4 && defined(__ARM_NEON) && defined(__aarch64__)
#define INPUT_BIAS 128 /* bytes become signed */
static inline vi dot(vi sum, vi x, vi w) {
    const int8x16_t a = (int8x16_t)(x ^ isplat((int32_t)0x80808080)), b = (int8x16_t)w;
#ifdef __ARM_FEATURE_DOTPROD
    return (vi)vdotq_s32((int32x4_t)sum, a, b);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b))), high = vpaddlq_s16(vmull_high_s8(a, b));
    return sum + (vi)vpaddq_s32(low, high);
#endif
}
#define dot_wide dot
static inline vi add_product(vi sum, vi x, vi w) { return sum + x * w; }
#elif VL == 4 && defined(__wasm_simd128__)
#define INPUT_BIAS 0
static inline vi add_product(vi sum, vi x, vi w) { return sum + (vi)wasm_i32x4_dot_i16x8((v128_t)x, (v128_t)w); }
static inline vi dot(vi sum, vi x, vi w) {
    const v128_t even = wasm_i16x8_shr(wasm_i16x8_shl((v128_t)w, 8), 8), odd = wasm_i16x8_shr((v128_t)w, 8);
    sum = add_product(sum, x & isplat(0x00ff00ff), (vi)even);
    return add_product(sum, (vi)wasm_u16x8_shr((v128_t)x, 8), (vi)odd);
}
#define dot_wide dot
#else
#define INPUT_BIAS 0
static inline vi dot(vi sum, vi x, vi w) {
    for (int i = 0; i < 4; i++) sum += ((x >> (8 * i)) & 255) * ((w << (24 - 8 * i)) >> 24);
    return sum;
}
#define dot_wide dot
static inline vi add_product(vi sum, vi x, vi w) { return sum + x * w; }
#endif
#endif
