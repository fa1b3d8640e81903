/* -- bytes ------------------------------------------------------------------------------------------------------------------ */

/* Quantised frames: VL channels of a position are VL bytes; byte q stands for the value (q - zero) * scale. */
#if VL > 1
typedef uint8_t vb __attribute__((vector_size(VL)));
static inline vi load_whole(const uint8_t *p) { return __builtin_convertvector(*(const vb *)p, vi); }
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
    *(vb *)p = __builtin_convertvector((vi)(x + splat(ROUNDING)) + zero, vb);
}
#else
static inline vi whole(vf x) { return (int32_t)lrintf(x); }
static inline void store_bytes(uint8_t *p, vf x, vi zero) { *p = (uint8_t)(whole(x) + zero); }
#endif

/* The nearest value that a byte can stand for. */
static inline vf v_grid(vf x, vf scale, vf inverse, vf zero) {
    return rounded(vmin(splat(255.0f) - zero, vmax(-zero, x * inverse))) * scale;
}
static inline float on_grid(float x, float scale, float low, float high) {
    const float made = rintf(x / scale) * scale;
    return made < low ? low : made > high ? high : made;
}
