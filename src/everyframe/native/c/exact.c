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
static inline double d_steps(double x, double scale, double zero) { return d_min(255 - zero, d_max(-zero, rint(x / scale))); }
static inline double d_grid(double x, double scale, double zero) { return d_steps(x, scale, zero) * scale; }
/* of what was a float all along: ONNX divides it as one */
static inline double d_float_steps(float x, float scale, float zero) {
    const float ratio = x / scale;
    return d_min(255 - (double)zero, d_max(-(double)zero, rint((double)ratio)));
}
static inline double d_float_grid(float x, float scale, float zero) { return d_float_steps(x, scale, zero) * (double)scale; }

/* In steps, how far x is from the nearest whole number; and whether the middle is `near` for any of them. */
static inline vf doubt_of(vf x) {
    const vf off = x - rounded(x);
#if VL > 1
    return (vf)((vi)off & isplat(0x7fffffff));
#else
    return fabsf(off);
#endif
}
static inline int doubtful(vf doubt, float near) {
#if VL == 16 && defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)doubt, _mm512_set1_ps(0.5f - near), _CMP_GT_OQ) != 0;
#elif VL == 8 && defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)doubt, _mm256_set1_ps(0.5f - near), _CMP_GT_OQ)) != 0;
#elif VL == 4 && defined(__ARM_NEON) && defined(__aarch64__)
    return vmaxvq_f32((float32x4_t)doubt) > 0.5f - near;
#elif VL > 1
    int any = 0;
    for (int i = 0; i < VL; i++) any |= doubt[i] > 0.5f - near;
    return any;
#else
    return doubt > 0.5f - near;
#endif
}
