/* -- functions that element-wise operators use -------------------------------------------------------------------------- */

LANES(v_abs, fabsf(x))
LANES(v_sqrt, sqrtf(x))
LANES(v_log, logf(x))
LANES(v_erf, erff(x))
LANES(v_floor, floorf(x))
LANES(v_ceil, ceilf(x))
LANES(v_round, rintf(x))
LANES(v_sin, sinf(x))
LANES(v_cos, cosf(x))
LANES(v_trunc, truncf(x))
LANES(v_tan, tanf(x))
LANES(v_asin, asinf(x))
LANES(v_acos, acosf(x))
LANES(v_atan, atanf(x))
LANES(v_sinh, sinhf(x))
LANES(v_cosh, coshf(x))
LANES(v_asinh, asinhf(x))
LANES(v_acosh, acoshf(x))
LANES(v_atanh, atanhf(x))
LANES(v_softplus, x > 20 ? x : log1pf(expf(x)))
LANES(v_mish, x * tanhf(x > 20 ? x : log1pf(expf(x))))
LANES(v_softsign, x / (1 + fabsf(x)))
LANES(v_expm1, expm1f(x))
LANES(v_gelu, 0.5f * x * (1 + erff(x * 0.70710678f)))
LANES(v_gelutanh, 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x))))
static inline vf v_neg(vf x) { return -x; }
static inline vf v_reciprocal(vf x) { return splat(1.0f) / x; }
static inline vf v_leakyrelu(vf x, vf a) { return vmax(splat(0.0f), x) + a * vmin(splat(0.0f), x); }
static inline vf v_elu(vf x, vf a) { return vmax(splat(0.0f), x) + a * v_expm1(vmin(splat(0.0f), x)); }
static inline vf v_celu(vf x, vf a) { return vmax(splat(0.0f), x) + a * v_expm1(vmin(splat(0.0f), x) / a); }
static inline vf v_selu(vf x, vf a, vf g) { return g * v_elu(x, a); }
static inline vf v_swish(vf x, vf a) { return x * v_sigmoid(a * x); }
#if VL > 1
static inline vf v_thresholdedrelu(vf x, vf a) { return (vf)((x > a) & (vi)x); }
static inline vf v_pow(vf x, vf y) {
    for (int i = 0; i < VL; i++) x[i] = powf(x[i], y[i]);
    return x;
}
static inline vf v_mod(vf x, vf y) {
    for (int i = 0; i < VL; i++) x[i] = fmodf(x[i], y[i]);
    return x;
}
/* 1 or 0; a vector's condition is all bits or none */
static inline vf v_less(vf x, vf y) { return (vf)((x < y) & (vi)splat(1.0f)); }
static inline vf v_lessequal(vf x, vf y) { return (vf)((x <= y) & (vi)splat(1.0f)); }
static inline vf v_equal(vf x, vf y) { return (vf)((x == y) & (vi)splat(1.0f)); }
static inline vf v_where(vf c, vf yes, vf no) {
    const vi mask = c != splat(0.0f);
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
#else
static inline vf v_mod(vf x, vf y) { return fmodf(x, y); }
static inline vf v_less(vf x, vf y) { return x < y ? 1 : 0; }
static inline vf v_lessequal(vf x, vf y) { return x <= y ? 1 : 0; }
static inline vf v_equal(vf x, vf y) { return x == y ? 1 : 0; }
static inline vf v_where(vf c, vf yes, vf no) { return c != 0 ? yes : no; }
static inline vf v_thresholdedrelu(vf x, vf a) { return x > a ? x : 0; }
static inline vf v_pow(vf x, vf y) { return powf(x, y); }
#endif
