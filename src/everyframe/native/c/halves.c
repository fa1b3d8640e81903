/* -- halves ------------------------------------------------------------------------------------------------------------------- */

/* float16 in memory: read exactly, written to the nearest half, ties to even. Processors that convert do it in one instruction. */
#define EF_HALVES

static inline float of_half(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float made;
    memcpy(&made, &bits, 4);
    made *= 0x1p112f; /* what the exponents of both count from; exact, also where halves have no leading one */
    memcpy(&bits, &made, 4);
    bits |= ((half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0) | (uint32_t)(half & 0x8000) << 16;
    memcpy(&made, &bits, 4);
    return made;
}

static inline uint16_t half_of(float x) {
    uint32_t bits, small;
    memcpy(&bits, &x, 4);
    const uint32_t size = bits & 0x7fffffff;
    float shifted;
    memcpy(&shifted, &size, 4);
    shifted += 0.5f; /* its last digit is that of the smallest half: the sum is rounded as the half is */
    memcpy(&small, &shifted, 4);
    uint32_t made = size < 0x38800000 ? small - 0x3f000000 : ((size + 0xfff + (size >> 13 & 1)) >> 13) - (112 << 10);
    if (size >= 0x47800000) made = size > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(made | bits >> 16 & 0x8000);
}

#if VL > 1
typedef uint16_t vh __attribute__((vector_size(2 * VL)));
#endif
#if VL == 16 && defined(__AVX512F__)
static inline vf load_half(const uint16_t *p) {
    vf made;
    __asm__("vcvtph2ps %1, %0" : "=v"(made) : "m"(*(const vh *)p));
    return made;
}
static inline void store_half(uint16_t *p, vf x) { __asm__("vcvtps2ph $0, %1, %0" : "=m"(*(vh *)p) : "v"(x)); }
#elif VL == 8 && defined(__F16C__)
static inline vf load_half(const uint16_t *p) {
    vf made;
    __asm__("vcvtph2ps %1, %0" : "=x"(made) : "m"(*(const vh *)p));
    return made;
}
static inline void store_half(uint16_t *p, vf x) { __asm__("vcvtps2ph $0, %1, %0" : "=m"(*(vh *)p) : "x"(x)); }
#elif VL == 4 && defined(__ARM_NEON) && defined(__aarch64__)
static inline vf load_half(const uint16_t *p) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline void store_half(uint16_t *p, vf x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x))); }
#elif VL > 1
static inline vf load_half(const uint16_t *p) {
    vf made;
    for (int i = 0; i < VL; i++) made[i] = of_half(p[i]);
    return made;
}
static inline void store_half(uint16_t *p, vf x) {
    for (int i = 0; i < VL; i++) p[i] = half_of(x[i]);
}
#else
static inline vf load_half(const uint16_t *p) { return of_half(*p); }
static inline void store_half(uint16_t *p, vf x) { *p = half_of(x); }
#endif
