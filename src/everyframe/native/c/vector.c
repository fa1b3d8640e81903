/* -- vectors ------------------------------------------------------------------------------------------------------------ */

/* VL channels of one position. Compiler vector types, so that one text serves every processor. */
#if VL > 1
typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
static inline vf load(const float *p) { return *(const vf *)p; }
static inline void store(float *p, vf x) { *(vf *)p = x; }
/* Positions of a plane, from any of them on. */
typedef float loose __attribute__((vector_size(4 * VL), aligned(4)));
static inline vf load_at(const float *p) { return *(const loose *)p; }
static inline void store_at(float *p, vf x) { *(loose *)p = x; }
#else
typedef float vf;
static inline vf load(const float *p) { return *p; }
static inline void store(float *p, vf x) { *p = x; }
#endif

#if VL == 16
static inline vf splat(float x) { return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
#elif VL == 8
static inline vf splat(float x) { return (vf){x, x, x, x, x, x, x, x}; }
#elif VL == 4
static inline vf splat(float x) { return (vf){x, x, x, x}; }
#else
static inline vf splat(float x) { return x; }
#endif

/* The second argument wins where one is not a number, so that a NaN stays visible behind a ReLU. x86's header of intrinsics is not
   read for two instructions: compilers need a third of a second for it. */
#if VL >= 8 && defined(__AVX512VL__)
#define SECOND_WINS(name) __asm__(name " %2, %1, %0" : "=v"(made) : "v"(bound), "v"(x))
#elif VL == 8 && defined(__AVX__)
#define SECOND_WINS(name) __asm__(name " %2, %1, %0" : "=x"(made) : "x"(bound), "x"(x))
#endif
#ifdef SECOND_WINS
static inline vf vmax(vf bound, vf x) { vf made; SECOND_WINS("vmaxps"); return made; }
static inline vf vmin(vf bound, vf x) { vf made; SECOND_WINS("vminps"); return made; }
#elif VL == 4 && defined(__ARM_NEON)
#include <arm_neon.h>
static inline vf vmax(vf bound, vf x) { return (vf)vmaxq_f32((float32x4_t)bound, (float32x4_t)x); }
static inline vf vmin(vf bound, vf x) { return (vf)vminq_f32((float32x4_t)bound, (float32x4_t)x); }
#elif VL == 4 && defined(__wasm_simd128__)
#include <wasm_simd128.h>
static inline vf vmax(vf bound, vf x) { return (vf)wasm_f32x4_pmax((v128_t)x, (v128_t)bound); }
static inline vf vmin(vf bound, vf x) { return (vf)wasm_f32x4_pmin((v128_t)x, (v128_t)bound); }
#elif VL > 1
static inline vf pick(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
static inline vf vmax(vf bound, vf x) { return pick(bound > x, bound, x); }
static inline vf vmin(vf bound, vf x) { return pick(bound < x, bound, x); }
#else
static inline vf vmax(vf bound, vf x) { return bound > x ? bound : x; }
static inline vf vmin(vf bound, vf x) { return bound < x ? bound : x; }
#endif

/* Keeps a loaded vector in its register: without it compilers fold loads into the arithmetic and the kernels lose a quarter. */
#if VL > 1 && defined(__AVX512VL__)
#define PIN(x) __asm__ volatile("" : "+v"(x))
#elif VL > 1 && defined(__AVX__)
#define PIN(x) __asm__ volatile("" : "+x"(x))
#else /* no other processor's arithmetic reads memory; NEON multiplies with one lane, if the compiler can see the splat */
#define PIN(x) ((void)0)
#endif

/* Sums stay in registers only where their loops are unrolled, which compilers do by themselves only where they are few. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static inline int64_t clamp_index(int64_t i, int64_t count) { return i < 0 ? 0 : i >= count ? count - 1 : i; }

/* A function of one float, lane by lane. */
#if VL > 1
#define LANES(name, expression)                         \
    static inline vf name(vf v) {                       \
        for (int i = 0; i < VL; i++) {                  \
            float x = v[i];                             \
            v[i] = (expression);                        \
        }                                               \
        return v;                                       \
    }
#else
#define LANES(name, expression) \
    static inline vf name(vf x) { return (expression); }
#endif

/* e**x to a few units in the last place, by a polynomial after the power of two has been split off. */
#if VL > 1
static inline vf v_exp(vf x) {
    vf kept = x;
    x = vmin(splat(88.0f), vmax(splat(-87.3f), x));
    vf n = x * splat(1.44269504f) + splat(12582912.0f); /* the integer part ends up in the low bits */
    vi power = (vi)n << 23;
    n = n - splat(12582912.0f);
    vf r = x - n * splat(0.693359375f) - n * splat(-2.12194440e-4f);
    vf p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(0.5f);
    p = p * r * r + r + splat(1.0f);
    vf made = (vf)((vi)p + power);
    vi number = kept == kept;
    return (vf)((number & (vi)made) | (~number & (vi)kept));
}

/* as Cephes' tanhf: a polynomial near zero, where 1 - 2 / (exp(2x) + 1) would lose digits */
static inline vf v_tanh(vf x) {
    vf s = x * x;
    vf p = splat(-5.70498872745e-3f);
    p = p * s + splat(2.06390887954e-2f);
    p = p * s + splat(-5.37397155531e-2f);
    p = p * s + splat(1.33314422036e-1f);
    p = p * s + splat(-3.33332819422e-1f);
    p = p * s * x + x;
    vf far = splat(1.0f) - splat(2.0f) / (v_exp(x + x) + splat(1.0f));
    vi near = s < splat(0.625f * 0.625f);
    return (vf)((near & (vi)p) | (~near & (vi)far));
}
#else
static inline vf v_exp(vf x) { return expf(x); }
static inline vf v_tanh(vf x) { return tanhf(x); }
#endif

static inline vf v_sigmoid(vf x) { return splat(1.0f) / (splat(1.0f) + v_exp(-x)); }
static inline vf v_silu(vf x) { return x / (splat(1.0f) + v_exp(-x)); }
static inline vf v_relu6(vf x) { return vmin(splat(6.0f), vmax(splat(0.0f), x)); }
static inline vf v_hardsigmoid(vf x, vf a, vf b) { return vmin(splat(1.0f), vmax(splat(0.0f), a * x + b)); }
static inline vf v_hardswish(vf x) { return x * v_hardsigmoid(x, splat(1.0f / 6), splat(0.5f)); }
