/* -- the same in double precision --------------------------------------------------------------------------------------------- */

/* A byte is decided by vectors of floats, unless the value lies so near to the middle between two steps that their last bits would
   decide: then it is computed again here, where a value that lies exactly between two is found to do so, and the even one is taken. */
static inline double d_max(double bound, double x) { return bound > x ? bound : x; }
static inline double d_min(double bound, double x) { return bound < x ? bound : x; }
static inline double d_neg(double x) { return -x; }
static inline double d_abs(double x) { return fabs(x); }
static inline double d_sqrt(double x) { return sqrt(x); }
static inline double d_reciprocal(double x) { return 1 / x; }
static inline double d_exp(double x) { return exp(x); }
static inline double d_expm1(double x) { return expm1(x); }
static inline double d_log(double x) { return log(x); }
static inline double d_erf(double x) { return erf(x); }
static inline double d_floor(double x) { return floor(x); }
static inline double d_ceil(double x) { return ceil(x); }
static inline double d_round(double x) { return rint(x); }
static inline double d_sin(double x) { return sin(x); }
static inline double d_cos(double x) { return cos(x); }
static inline double d_trunc(double x) { return trunc(x); }
static inline double d_tan(double x) { return tan(x); }
static inline double d_asin(double x) { return asin(x); }
static inline double d_acos(double x) { return acos(x); }
static inline double d_atan(double x) { return atan(x); }
static inline double d_sinh(double x) { return sinh(x); }
static inline double d_cosh(double x) { return cosh(x); }
static inline double d_asinh(double x) { return asinh(x); }
static inline double d_acosh(double x) { return acosh(x); }
static inline double d_atanh(double x) { return atanh(x); }
static inline double d_mod(double x, double y) { return fmod(x, y); }
static inline double d_less(double x, double y) { return x < y; }
static inline double d_lessequal(double x, double y) { return x <= y; }
static inline double d_equal(double x, double y) { return x == y; }
static inline double d_where(double c, double yes, double no) { return c != 0 ? yes : no; }
static inline double d_tanh(double x) { return tanh(x); }
static inline double d_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline double d_silu(double x) { return x / (1 + exp(-x)); }
static inline double d_swish(double x, double a) { return x / (1 + exp(-a * x)); }
static inline double d_relu6(double x) { return d_min(6, d_max(0, x)); }
static inline double d_hardsigmoid(double x, double a, double b) { return d_min(1, d_max(0, a * x + b)); }
static inline double d_hardswish(double x) { return x * d_hardsigmoid(x, 1.0 / 6, 0.5); }
static inline double d_softplus(double x) { return x > 20 ? x : log1p(exp(x)); }
static inline double d_softsign(double x) { return x / (1 + fabs(x)); }
static inline double d_mish(double x) { return x * tanh(d_softplus(x)); }
static inline double d_gelu(double x) { return 0.5 * x * (1 + erf(x * 0.70710678118654752)); }
static inline double d_gelutanh(double x) { return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))); }
static inline double d_prelu(double x, double a) { return x < 0 ? a * x : x; }
static inline double d_leakyrelu(double x, double a) { return x < 0 ? a * x : x; }
static inline double d_elu(double x, double a) { return x < 0 ? a * expm1(x) : x; }
static inline double d_celu(double x, double a) { return x < 0 ? a * expm1(x / a) : x; }
static inline double d_selu(double x, double a, double g) { return g * d_elu(x, a); }
static inline double d_thresholdedrelu(double x, double a) { return x > a ? x : 0; }

/* The byte's number of steps from its zero. */
static inline double d_steps(double x, double scale, double zero) {
    const double steps = d_min(255 - zero, d_max(-zero, x / scale));
    return (steps + 6755399441055744.0) - 6755399441055744.0; /* the nearest whole number, ties to even */
}
static inline double d_grid(double x, double scale, double zero) { return d_steps(x, scale, zero) * scale; }
/* of what was a float all along: ONNX divides it as one */
static inline double d_float_steps(float x, float scale, float zero) {
    const float ratio = x / scale;
    return d_steps((double)ratio, 1, zero);
}
static inline double d_float_grid(float x, float scale, float zero) { return d_float_steps(x, scale, zero) * (double)scale; }

/* Which of VL values lie, in steps, so near to the middle between two that floats cannot decide. middle: a power of two and a half,
   plus 0.5: added to it, a value keeps so many bits behind the point, and they are zero there. */
typedef struct {
    vf middle;
#if VL > 1
    vi bits;
#else
    int32_t bits;
#endif
} doubt;
static inline doubt doubt_at(float middle) {
    union { float value; int32_t bits; } word = {middle};
    const int32_t bits = (1 << (150 - (word.bits >> 23))) - 1;
#if VL > 1
    return (doubt){splat(middle), isplat(bits)};
#else
    return (doubt){middle, bits};
#endif
}
#if VL == 16 && defined(__AVX512F__)
typedef __mmask16 doubts;
static inline doubts doubts_of(vf x, doubt d) { return _mm512_testn_epi32_mask((__m512i)(x + d.middle), (__m512i)d.bits); }
static inline uint32_t lanes_of(doubts d) { return d; }
#elif VL > 1
typedef vi doubts;
static inline doubts doubts_of(vf x, doubt d) { return ((vi)(x + d.middle) & d.bits) == isplat(0); }
#if VL == 8 && defined(__AVX__)
static inline uint32_t lanes_of(doubts d) { return (uint32_t)_mm256_movemask_ps((__m256)d); }
#elif VL == 4 && defined(__ARM_NEON) && defined(__aarch64__)
static inline uint32_t lanes_of(doubts d) {
    const vi bits = {1, 2, 4, 8};
    return vmaxvq_u32((uint32x4_t)d) ? vaddvq_u32((uint32x4_t)(d & bits)) : 0;
}
#elif VL == 4 && defined(__wasm_simd128__)
static inline uint32_t lanes_of(doubts d) { return (uint32_t)wasm_i32x4_bitmask((v128_t)d); }
#else
static inline uint32_t lanes_of(doubts d) {
    uint32_t lanes = 0;
    for (int i = 0; i < VL; i++) lanes |= (uint32_t)(d[i] & 1) << i;
    return lanes;
}
#endif
#else
typedef int32_t doubts;
static inline doubts doubts_of(vf x, doubt d) {
    union { float value; int32_t bits; } word = {x + d.middle};
    return !(word.bits & d.bits);
}
static inline uint32_t lanes_of(doubts d) { return (uint32_t)d; }
#endif
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
