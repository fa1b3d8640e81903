/* -- weights of 16 bits ----------------------------------------------------------------------------------------------------- */

/* Whole numbers, and for each entry of a group one scale. They become floats in registers where few positions are computed, which wait
   for weights; else in a place that stays in the nearest caches, once for all positions of a block: CONV_HALVED floats
   at once. */

typedef int16_t vw __attribute__((vector_size(2 * VL)));

#if VL >= 8 && defined(__AVX512VL__) /* compilers widen vectors in halves */
#define CONV_WIDENED(made, p) __asm__("vpmovsxwd %1, %0" : "=v"(made) : "m"(*(const vw *)(p)))
#elif VL == 8 && defined(__AVX2__)
#define CONV_WIDENED(made, p) __asm__("vpmovsxwd %1, %0" : "=x"(made) : "m"(*(const vw *)(p)))
#else
#define CONV_WIDENED(made, p) (made = __builtin_convertvector(*(const vw *)(p), vi))
#endif

static inline vf halved(const int16_t *p, vf scale) {
    vi whole;
    CONV_WIDENED(whole, p);
    return __builtin_convertvector(whole, vf) * scale;
}

static void conv_expand(float *to, const int16_t *from, const float *scales, int32_t entries, int32_t height) {
    for (int32_t e = 0; e < entries; e++)
        for (int32_t h = 0; h < height; h++, from += VL, to += VL) store(to, halved(from, splat(scales[e])));
}
