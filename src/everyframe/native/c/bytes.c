/* -- bytes ------------------------------------------------------------------------------------------------------------------ */

/* Quantized frames: VL channels of a position are VL bytes; byte q stands for the value (q - zero) * scale. */
#ifdef __SSE2__
#include <immintrin.h>
#endif

#if VL > 1
typedef uint8_t vb __attribute__((vector_size(VL)));
/* Compilers take these conversions apart, so they are spelt out. narrowed: the lowest byte of each lane. */
#if VL == 16 && defined(__AVX512F__)
static inline vi load_whole(const uint8_t *p) { return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
static inline void store_narrowed(uint8_t *p, vi x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)x)); }
#elif VL == 8 && defined(__AVX2__)
static inline vi load_whole(const uint8_t *p) { return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
static inline void store_narrowed(uint8_t *p, vi x) {
    const vi first = {0x0c080400, -1, -1, -1, 0x0c080400, -1, -1, -1}, order = {0, 4, 0, 0, 0, 0, 0, 0};
    const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8((__m256i)x, (__m256i)first), (__m256i)order);
    _mm_storel_epi64((__m128i *)p, _mm256_castsi256_si128(packed));
}
#elif VL == 4 && defined(__ARM_NEON)
static inline vi load_whole(const uint8_t *p) {
    const uint8x8_t bytes = vreinterpret_u8_u32(vld1_dup_u32((const uint32_t *)p));
    return (vi)vmovl_u16(vget_low_u16(vmovl_u8(bytes)));
}
static inline void store_narrowed(uint8_t *p, vi x) {
    const uint16x4_t half = vmovn_u32((uint32x4_t)x);
    vst1_lane_u32((uint32_t *)p, vreinterpret_u32_u8(vmovn_u16(vcombine_u16(half, half))), 0);
}
#elif VL == 4 && defined(__wasm_simd128__)
static inline vi load_whole(const uint8_t *p) {
    return (vi)wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p)));
}
static inline void store_narrowed(uint8_t *p, vi x) {
    const v128_t packed = wasm_i8x16_shuffle((v128_t)x, (v128_t)x, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    wasm_v128_store32_lane(p, packed, 0);
}
#else
static inline vi load_whole(const uint8_t *p) { return __builtin_convertvector(*(const vb *)p, vi); }
static inline void store_narrowed(uint8_t *p, vi x) { *(vb *)p = __builtin_convertvector(x, vb); }
#endif
static inline vf load_bytes(const uint8_t *p) { return __builtin_convertvector(load_whole(p), vf); }
#if VL == 16 && defined(__SSE2__)
static inline vb larger(vb a, vb b) { return (vb)_mm_max_epu8((__m128i)a, (__m128i)b); }
#else
static inline vb larger(vb a, vb b) { return (a & (vb)(a > b)) | (b & ~(vb)(a > b)); }
#endif
static inline vi ints_of(const int32_t *p) { return *(const vi *)p; }
static inline vi isplat(int32_t x) { return (vi){0} + x; }
static inline vf values_of(vi x) { return __builtin_convertvector(x, vf); }
#else
typedef int32_t vi;
static inline vf load_bytes(const uint8_t *p) { return (float)*p; }
#endif

/* Added to a number between -2**22 and 2**22, its low bits are the nearest integer, ties to even. */
#define ROUNDING 12582912.0f
static inline vf rounded(vf x) { return (x + splat(ROUNDING)) - splat(ROUNDING); }

/* x: already between -zero and 255 - zero. */
#if VL > 1
static inline vi whole(vf x) { return (vi)(x + splat(ROUNDING)) - isplat(0x4b400000); }
static inline void store_bytes(uint8_t *p, vf x, vi zero) {
    store_narrowed(p, (vi)(x + splat(ROUNDING)) + zero);
}
#else
static inline vi whole(vf x) { return (int32_t)lrintf(x); }
static inline void store_bytes(uint8_t *p, vf x, vi zero) { *p = (uint8_t)(whole(x) + zero); }
#endif

#if VL > 1
/* x: a byte, of any size that a whole number can have; rounded, and cut off by the conversion. CUT_SIDE: how many vectors share most
   of the work. */
#if VL == 16 && defined(__AVX512BW__)
#define CUT_SIDE 4
static inline void store_cut(uint8_t *p, vf x) {
    const __m512i whole = _mm512_max_epi32(_mm512_cvtps_epi32((__m512)x), _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)p, _mm512_cvtusepi32_epi8(whole));
}
static inline void store_cut_both(uint8_t *p, vf x, uint8_t *q, vf y) {
    store_cut(p, x);
    store_cut(q, y);
}
/* Positions are mostly side by side. */
static inline void store_cut_four(uint8_t *const *p, const vf *x) {
    const __m512i one = _mm512_packs_epi32(_mm512_cvtps_epi32((__m512)x[0]), _mm512_cvtps_epi32((__m512)x[1]));
    const __m512i two = _mm512_packs_epi32(_mm512_cvtps_epi32((__m512)x[2]), _mm512_cvtps_epi32((__m512)x[3]));
    const vi order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    const __m512i made = _mm512_permutexvar_epi32((__m512i)order, _mm512_packus_epi16(one, two));
    if (p[3] - p[0] == 3 * VL) {
        _mm512_storeu_si512(p[0], made);
        return;
    }
    _mm_storeu_si128((__m128i *)p[0], _mm512_castsi512_si128(made));
    _mm_storeu_si128((__m128i *)p[1], _mm512_extracti32x4_epi32(made, 1));
    _mm_storeu_si128((__m128i *)p[2], _mm512_extracti32x4_epi32(made, 2));
    _mm_storeu_si128((__m128i *)p[3], _mm512_extracti32x4_epi32(made, 3));
}
#elif VL == 8 && defined(__AVX2__)
static inline void store_cut_both(uint8_t *p, vf x, uint8_t *q, vf y) {
    const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32((__m256)x), _mm256_cvtps_epi32((__m256)y));
    const vi order = {0, 4, 1, 5, 0, 0, 0, 0};
    const __m128i made = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), (__m256i)order));
    _mm_storel_epi64((__m128i *)p, made);
    _mm_storeh_pd((double *)q, _mm_castsi128_pd(made));
}
static inline void store_cut(uint8_t *p, vf x) {
    const __m256i whole = _mm256_cvtps_epi32((__m256)x), words = _mm256_packs_epi32(whole, whole);
    const vi order = {0, 4, 0, 0, 0, 0, 0, 0};
    const __m256i made = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), (__m256i)order);
    _mm_storel_epi64((__m128i *)p, _mm256_castsi256_si128(made));
}
#elif VL == 4 && defined(__ARM_NEON) && defined(__aarch64__)
static inline void store_cut(uint8_t *p, vf x) {
    const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32((float32x4_t)x));
    vst1_lane_u32((uint32_t *)p, vreinterpret_u32_u8(vqmovun_s16(vcombine_s16(words, words))), 0);
}
static inline void store_cut_both(uint8_t *p, vf x, uint8_t *q, vf y) {
    const int16x4_t one = vqmovn_s32(vcvtnq_s32_f32((float32x4_t)x)), two = vqmovn_s32(vcvtnq_s32_f32((float32x4_t)y));
    const uint32x2_t made = vreinterpret_u32_u8(vqmovun_s16(vcombine_s16(one, two)));
    vst1_lane_u32((uint32_t *)p, made, 0);
    vst1_lane_u32((uint32_t *)q, made, 1);
}
#else
static inline void store_cut(uint8_t *p, vf x) { store_bytes(p, vmin(splat(255.0f), vmax(splat(0.0f), x)), isplat(0)); }
static inline void store_cut_both(uint8_t *p, vf x, uint8_t *q, vf y) {
    store_cut(p, x);
    store_cut(q, y);
}
#endif
#ifndef CUT_SIDE
#define CUT_SIDE 2
static inline void store_cut_four(uint8_t *const *p, const vf *x) {
    store_cut_both(p[0], x[0], p[1], x[1]);
    store_cut_both(p[2], x[2], p[3], x[3]);
}
#endif
#endif

/* The nearest value that a byte can stand for. */
static inline vf v_steps(vf x, vf inverse, vf zero) { return vmin(splat(255.0f) - zero, vmax(-zero, x * inverse)); }
static inline float on_grid(float x, float scale, float low, float high) {
    const float made = rintf(x / scale) * scale;
    return made < low ? low : made > high ? high : made;
}
