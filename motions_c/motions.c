/* motions.c: the network motions.onnx as C, made by everyframe 0.1.0 for x86-64-v4. Do not edit.
   Make it again with:  everyframe compile motions.onnx --cpu x86-64-v4 --emit-c DIR
   Model:               sha256 d31f9ff3de85bbd2a796ef99265166cd00eccb774dae16d34e1d3a5228526323
   Compile it with:     cc -O3 -march=x86-64-v4 -mprefer-vector-width=512 -std=gnu11 -ffp-contract=fast -fno-strict-aliasing -fno-math-errno -c motions.c  (link with -lm -lpthread)
   Define EF_NO_THREADS to do without threads, EF_STATIC_ARENA for memory in the data section,
   EF_EMBED='"FILE.weights"' for the weights in the data section.
   
   Letters: C channels, H height, W width, k taps (frames that a convolution reads), VL channels in a vector.
   
   Arena, in bytes:
            161,280  states and what becomes one
             24,576  what was before the first frame
            314,944  everything within a step */

#include "motions.h"

#include <math.h>
#include <string.h>

#define VL 16
#define EF_HEAD_BYTES 2368
#define EF_COUNTERS 1
#define EF_SLOTS 29
#define EF_FRESH 8
#define EF_BUFFERS 37
#define EF_STATE_FLOATS 40320
#define EF_MAX_THREADS 64
#define EF_MAX_SOURCES 3
#define EF_WEIGHT_FORMAT 1
#define EF_WEIGHT_WORDS 240608u
#define EF_MODEL_HASH UINT64_C(0xd31f9ff3de85bbd2)

/* -- vectors ------------------------------------------------------------------------------------------------------------ */

/* VL channels of one position. Compiler vector types, so that one text serves every processor. */
#if VL > 1
typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
static inline vf load(const float *p) { return *(const vf *)p; }
static inline void store(float *p, vf x) { *(vf *)p = x; }
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

/* The second argument wins where one is not a number, so that a NaN stays visible behind a ReLU. */
#if VL == 16 && defined(__AVX512F__)
#include <immintrin.h>
static inline vf vmax(vf bound, vf x) { return (vf)_mm512_max_ps((__m512)bound, (__m512)x); }
static inline vf vmin(vf bound, vf x) { return (vf)_mm512_min_ps((__m512)bound, (__m512)x); }
#elif VL == 8 && defined(__AVX__)
#include <immintrin.h>
static inline vf vmax(vf bound, vf x) { return (vf)_mm256_max_ps((__m256)bound, (__m256)x); }
static inline vf vmin(vf bound, vf x) { return (vf)_mm256_min_ps((__m256)bound, (__m256)x); }
#elif VL == 4 && defined(__ARM_NEON)
#include <arm_neon.h>
static inline vf vmax(vf bound, vf x) { return (vf)vmaxq_f32((float32x4_t)bound, (float32x4_t)x); }
static inline vf vmin(vf bound, vf x) { return (vf)vminq_f32((float32x4_t)bound, (float32x4_t)x); }
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
#elif VL > 1 && defined(__aarch64__)
#define PIN(x) __asm__ volatile("" : "+w"(x))
#else
#define PIN(x) ((void)0)
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
#else
static inline vf v_exp(vf x) { return expf(x); }
#endif

static inline vf v_sigmoid(vf x) { return splat(1.0f) / (splat(1.0f) + v_exp(-x)); }
static inline vf v_silu(vf x) { return x / (splat(1.0f) + v_exp(-x)); }
static inline vf v_relu6(vf x) { return vmin(splat(6.0f), vmax(splat(0.0f), x)); }
static inline vf v_hardsigmoid(vf x, vf a, vf b) { return vmin(splat(1.0f), vmax(splat(0.0f), a * x + b)); }
static inline vf v_hardswish(vf x) { return x * v_hardsigmoid(x, splat(1.0f / 6), splat(0.5f)); }
LANES(v_tanh, tanhf(x))

/* -- threads ------------------------------------------------------------------------------------------------------------ */

/* One operator at work. Threads get the same job and different parts of it. */
typedef struct {
    const ef_stream *stream;
    const void *layer;
    float *out;
    const float *residual;
    const float *const *in;
    const float *numbers; /* values of counters that element-wise operators use */
} job;
typedef void (*kernel)(const job *, int part, int parts);

#ifndef EF_NO_THREADS
#include <pthread.h>

/* Workers sleep between jobs and are woken for each: threads that spin while they wait would take the processor from the decoder. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t workers[EF_MAX_THREADS];
    kernel run;
    const job *job;
    unsigned turn; /* counts jobs, so that a worker knows a new one */
    int count, busy, stop;
} pool;

struct worker {
    pool *pool;
    int part;
};

static void *work(void *argument) {
    struct worker me = *(struct worker *)argument;
    pool *p = me.pool;
    unsigned seen = 0;
    pthread_mutex_lock(&p->lock);
    p->busy--; /* `me` has been copied: the caller may go on */
    pthread_cond_signal(&p->done);
    for (;;) {
        while (p->turn == seen && !p->stop) pthread_cond_wait(&p->work, &p->lock);
        if (p->stop) break;
        seen = p->turn;
        kernel run = p->run;
        const job *j = p->job;
        pthread_mutex_unlock(&p->lock);
        run(j, me.part, p->count);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0) pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void pool_stop(pool *p) {
    if (p->count <= 1) return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->count; i++) pthread_join(p->workers[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    p->count = 1;
}

static int pool_start(pool *p, int threads) {
    p->count = 1;
    p->turn = 0;
    p->busy = p->stop = 0;
    if (threads <= 1) return 0;
    if (pthread_mutex_init(&p->lock, NULL) || pthread_cond_init(&p->work, NULL) || pthread_cond_init(&p->done, NULL)) return -1;
    for (int i = 1; i < threads; i++) {
        struct worker me = {p, i};
        p->busy = 1;
        if (pthread_create(&p->workers[i], NULL, work, &me)) {
            pool_stop(p);
            return -1;
        }
        pthread_mutex_lock(&p->lock);
        while (p->busy) pthread_cond_wait(&p->done, &p->lock);
        pthread_mutex_unlock(&p->lock);
        p->count = i + 1;
    }
    return 0;
}

static void pool_run(pool *p, kernel run, const job *j) {
    if (p->count == 1) {
        run(j, 0, 1);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->run = run;
    p->job = j;
    p->busy = p->count - 1;
    p->turn++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    run(j, 0, p->count);
    pthread_mutex_lock(&p->lock);
    while (p->busy) pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
#else
typedef struct {
    int count;
} pool;
static int pool_start(pool *p, int threads) {
    (void)threads;
    p->count = 1;
    return 0;
}
static void pool_stop(pool *p) { (void)p; }
static void pool_run(pool *p, kernel run, const job *j) {
    (void)p;
    run(j, 0, 1);
}
#endif

/* One stream: its pointers to states, its counters, its threads. The arena lies behind it. */
struct ef_stream {
    pool pool;
    const float *weights; /* the data of the blob */
    float *arena;
    int64_t counter[EF_COUNTERS + 1];
    float *slot[EF_SLOTS + 1];   /* where each state is now */
    float *fresh[EF_FRESH + 1];  /* where this step puts what becomes a state */
};

static inline const int32_t *ints(const ef_stream *s, uint32_t at) { return (const int32_t *)(s->weights + at); }

/* Part `part` of `parts` of 0 .. count - 1. */
static inline int32_t begin(int32_t count, int part, int parts) { return (int32_t)((int64_t)count * part / parts); }

/* -- copies ----------------------------------------------------------------------------------------------------------------- */

/* How a frame lies: block channels side by side, row and plane in floats. */
typedef struct {
    int32_t channels, height, width, block, row, plane;
} form;

static inline int64_t value_at(const form *f, int32_t channel, int32_t y, int32_t x) {
    return (int64_t)(channel / f->block) * f->plane + (int64_t)y * f->row + (int64_t)x * f->block + channel % f->block;
}

/* A frame of the caller's, (C, H, W) with `stride` floats from channel to channel, into the arena. */
typedef struct {
    form out;
    int64_t stride;
} import_layer;

static void import(const job *j, int part, int parts) {
    const import_layer *k = j->layer;
    const form *f = &k->out;
    const int32_t lines = f->channels * f->height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t channel = line / f->height, y = line % f->height;
        const float *in = j->in[0] + channel * k->stride + (int64_t)y * f->width;
        float *out = j->out + value_at(f, channel, y, 0);
        if (f->block == 1) memcpy(out, in, (size_t)f->width * sizeof(float));
        else
            for (int32_t x = 0; x < f->width; x++) out[(int64_t)x * f->block] = in[x];
    }
}

/* -- activations that convolutions apply ------------------------------------------------------------------------------------ */

enum { ACT_NONE, ACT_SIGMOID, ACT_SILU, ACT_TANH, ACT_HARDSWISH, ACT_RELU6 };

static vf activate(int32_t which, vf x) {
    switch (which) {
    case ACT_SIGMOID: return v_sigmoid(x);
    case ACT_SILU: return v_silu(x);
    case ACT_TANH: return v_tanh(x);
    case ACT_HARDSWISH: return v_hardswish(x);
    case ACT_RELU6: return v_relu6(x);
    default: return x;
    }
}

/* -- convolution by tables -------------------------------------------------------------------------------------------------- */

/* Output channels come in groups of H vectors, positions in tiles of P; H * P sums stay in registers while the group's entries go
   by. An entry is an offset into a source frame and H vectors of weights: one value of each of P positions is broadcast and
   multiplied with them. Entries with zero weights are not in the tables, null frames are time padding and skipped.

   group_rows   per group: vectors, first block of channels, first weight, first offset
   bounds       per group, slice and source: its first entry, counted within the group; one more at the end
   at, in_at    per output position: offset in the output, and where the kernel stands in each source */
typedef struct {
    int32_t sources, slices, groups, positions, out_block, residual_block;
    uint32_t group_rows, bounds, offsets, weights, bias, at, residual_at;
    const int32_t *in_at;
    int32_t activation, residual_last;
    float low, high;
} conv_layer;

/* A group and a slice of entries. first, last: slice; sums wait in the output between slices. */
typedef struct {
    const conv_layer *layer;
    const ef_stream *stream;
    const float *const *in;
    float *out;
    const float *residual, *bias, *weights;
    const int32_t *bounds, *offsets;
    int first, last;
} tile_job;

#define CONV_TILE(H, P)                                                                                       \
    static void conv_##H##x##P(const tile_job *j, int32_t position, int32_t tiles) {                          \
        const conv_layer *k = j->layer;                                                                       \
        const int32_t *at = ints(j->stream, k->at), *rest_at = ints(j->stream, k->residual_at);               \
        for (; tiles > 0; tiles--, position += P) {                                                           \
            vf sum[P][H];                                                                                     \
            for (int p = 0; p < P; p++)                                                                       \
                for (int h = 0; h < H; h++)                                                                   \
                    sum[p][h] = j->first ? load(j->bias + h * VL)                                             \
                                         : load(j->out + at[position + p] + (int64_t)h * k->out_block);       \
            for (int32_t s = 0; s < k->sources; s++) {                                                        \
                if (!j->in[s]) continue;                                                                      \
                const int32_t *in_at = ints(j->stream, (uint32_t)k->in_at[s]) + position;                               \
                const float *x[P];                                                                            \
                for (int p = 0; p < P; p++) x[p] = j->in[s] + in_at[p];                                       \
                const float *w = j->weights + (int64_t)j->bounds[s] * (H * VL);                               \
                for (int32_t e = j->bounds[s]; e < j->bounds[s + 1]; e++, w += H * VL) {                      \
                    const int64_t offset = j->offsets[e];                                                     \
                    vf weight[H];                                                                             \
                    for (int h = 0; h < H; h++) {                                                             \
                        weight[h] = load(w + h * VL);                                                         \
                        PIN(weight[h]);                                                                       \
                    }                                                                                         \
                    for (int p = 0; p < P; p++) {                                                             \
                        vf value = splat(x[p][offset]);                                                       \
                        PIN(value);                                                                           \
                        for (int h = 0; h < H; h++) sum[p][h] += value * weight[h];                           \
                    }                                                                                         \
                }                                                                                             \
            }                                                                                                 \
            if (j->last) {                                                                                    \
                if (j->residual && !k->residual_last)                                                         \
                    for (int p = 0; p < P; p++)                                                               \
                        for (int h = 0; h < H; h++)                                                           \
                            sum[p][h] += load(j->residual + rest_at[position + p] + (int64_t)h * k->residual_block); \
                if (k->activation)                                                                            \
                    for (int p = 0; p < P; p++)                                                               \
                        for (int h = 0; h < H; h++) sum[p][h] = activate(k->activation, sum[p][h]);           \
                for (int p = 0; p < P; p++)                                                                   \
                    for (int h = 0; h < H; h++) sum[p][h] = vmin(splat(k->high), vmax(splat(k->low), sum[p][h])); \
                if (j->residual && k->residual_last)                                                          \
                    for (int p = 0; p < P; p++)                                                               \
                        for (int h = 0; h < H; h++)                                                           \
                            sum[p][h] += load(j->residual + rest_at[position + p] + (int64_t)h * k->residual_block); \
            }                                                                                                 \
            for (int p = 0; p < P; p++)                                                                       \
                for (int h = 0; h < H; h++) store(j->out + at[position + p] + (int64_t)h * k->out_block, sum[p][h]); \
        }                                                                                                     \
    }
CONV_TILE(1, 1)
CONV_TILE(1, 2)
CONV_TILE(1, 3)
CONV_TILE(1, 4)
CONV_TILE(1, 5)
CONV_TILE(1, 6)
CONV_TILE(1, 7)
CONV_TILE(1, 8)
CONV_TILE(2, 1)
CONV_TILE(2, 2)
CONV_TILE(2, 3)
CONV_TILE(2, 4)
CONV_TILE(2, 5)
CONV_TILE(2, 6)

static void (*const conv_tiles[3][9])(const tile_job *, int32_t, int32_t) = {
    {NULL},
    {NULL, conv_1x1, conv_1x2, conv_1x3, conv_1x4, conv_1x5, conv_1x6, conv_1x7, conv_1x8},
    {NULL, conv_2x1, conv_2x2, conv_2x3, conv_2x4, conv_2x5, conv_2x6},
};
static const int32_t conv_widest[] = {0, 8, 6};

/* Positions first .. first + count - 1 of one group and slice, in tiles whose sizes differ by at most one. */
static void conv_range(const tile_job *j, int32_t height, int32_t first, int32_t count) {
    const int32_t most = conv_widest[height], tiles = (count + most - 1) / most, small = count / tiles, large = count - small * tiles;
    if (large) conv_tiles[height][small + 1](j, first, large);
    conv_tiles[height][small](j, first + large * (small + 1), tiles - large);
}

/* Positions are taken in blocks, so that what a block reads stays in the second-level cache while all groups pass over it. Threads
   share positions where there are many, else groups; neither changes the order in which anything is summed. */
enum { CONV_BLOCK = 196 };

static void conv(const job *g, int part, int parts) {
    const conv_layer *k = g->layer;
    const int by_position = k->positions >= 64 * parts || k->groups < parts;
    const int32_t p0 = by_position ? begin(k->positions, part, parts) : 0, p1 = by_position ? begin(k->positions, part + 1, parts) : k->positions;
    const int32_t g0 = by_position ? 0 : begin(k->groups, part, parts), g1 = by_position ? k->groups : begin(k->groups, part + 1, parts);
    const int32_t *rows = ints(g->stream, k->group_rows), *bounds = ints(g->stream, k->bounds);
    const int32_t stride = k->slices * k->sources + 1;
    for (int32_t p = p0; p < p1; p += CONV_BLOCK)
        for (int32_t slice = 0; slice < k->slices; slice++)
            for (int32_t group = g0; group < g1; group++) {
                const int32_t *row = rows + 4 * group;
                const tile_job j = {
                    .layer = k,
                    .stream = g->stream,
                    .in = g->in,
                    .out = g->out + (int64_t)row[1] * k->out_block,
                    .residual = g->residual ? g->residual + (int64_t)row[1] * k->residual_block : NULL,
                    .bias = g->stream->weights + k->bias + row[1] * VL,
                    .weights = g->stream->weights + k->weights + row[2],
                    .bounds = bounds + (int64_t)group * stride + slice * k->sources,
                    .offsets = ints(g->stream, k->offsets) + row[3],
                    .first = slice == 0,
                    .last = slice == k->slices - 1,
                };
                conv_range(&j, row[0], p, MIN(CONV_BLOCK, p1 - p));
            }
}

/* -- element-wise operators --------------------------------------------------------------------------------------------------- */

/* lines: (block, row) pairs; a frame without borders is one line a block. in_line, in_block: of each input, in floats; both 0 for a
   constant of one vector a block. floats: of a line. */
typedef struct {
    int32_t blocks, rows, floats, out_block, out_row;
    const int32_t *in_block, *in_row;
} map_layer;

static void map_0(const job *j, int part, int parts) {
    const map_layer *k = j->layer;
    const vf n0 = splat(j->numbers[0]);
    const int32_t lines = k->blocks * k->rows;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int64_t block = line / k->rows, row = line % k->rows;
        float *out = j->out + block * k->out_block + row * k->out_row;
        const float *in0 = j->in[0] + block * k->in_block[0] + row * k->in_row[0];
        const float *in1 = j->in[1] + block * k->in_block[1] + row * k->in_row[1];
        const float *in2 = j->in[2] + block * k->in_block[2] + row * k->in_row[2];
        const float *in3 = j->in[3] + block * k->in_block[3] + row * k->in_row[3];
        const float *in4 = j->in[4] + block * k->in_block[4] + row * k->in_row[4];
        const float *in5 = j->in[5] + block * k->in_block[5] + row * k->in_row[5];
        const float *in6 = j->in[6] + block * k->in_block[6] + row * k->in_row[6];
        const float *in7 = j->in[7] + block * k->in_block[7] + row * k->in_row[7];
        const float *in8 = j->in[8] + block * k->in_block[8] + row * k->in_row[8];
        const float *in9 = j->in[9] + block * k->in_block[9] + row * k->in_row[9];
        const float *in10 = j->in[10] + block * k->in_block[10] + row * k->in_row[10];
        const float *in11 = j->in[11] + block * k->in_block[11] + row * k->in_row[11];
        for (int32_t x = 0; x < k->floats; x += VL) {
            const vf a0 = load(in0 + x);
            const vf a1 = load(in1 + x);
            const vf a2 = load(in2 + x);
            const vf a3 = load(in3 + x);
            const vf a4 = load(in4 + x);
            const vf a5 = load(in5 + x);
            const vf a6 = load(in6 + x);
            const vf a7 = load(in7 + x);
            const vf a8 = load(in8 + x);
            const vf a9 = load(in9 + x);
            const vf a10 = load(in10 + x);
            const vf a11 = load(in11 + x);
            const vf t0 = a0 + a1;
            const vf t1 = t0 + a2;
            const vf t2 = t1 + a3;
            const vf t3 = t2 + a4;
            const vf t4 = t3 + a5;
            const vf t5 = t4 + a6;
            const vf t6 = t5 + a7;
            const vf t7 = t6 + a8;
            const vf t8 = t7 + a9;
            const vf t9 = t8 + a10;
            const vf t10 = t9 + a11;
            const vf t11 = t10 * n0;
            store(out + x, t11);
        }
    }
}

static const float table_0[] = {1.0f, 0.5f, 0.333333343f, 0.25f, 0.200000003f, 0.166666672f, 0.142857149f, 0.125f, 0.111111112f, 0.100000001f, 0.0909090936f, 0.0833333358f};

static const import_layer import_layer_0 = {.out = {1, 48, 64, 1, 67, 3417}, .stride = 3072};
/* look.0.tanh: convolution 1x1x1 / 1, 3 -> 2 channels, 48 x 64 */
static const conv_layer conv_layer_0 = {.sources = 3, .slices = 1, .groups = 1, .positions = 3072, .out_block = 54672, .residual_block = 0, .group_rows = 0, .bounds = 16, .offsets = 32, .weights = 48, .bias = 96, .at = 112, .residual_at = 0, .in_at = (const int32_t[]){3184, 3184, 3184}, .activation = 3, .residual_last = 0, .low = -INFINITY, .high = INFINITY};
/* look.relu: convolution 1x5x5 / 2, 3 -> 16 channels, 24 x 32 */
static const conv_layer conv_layer_1 = {.sources = 2, .slices = 1, .groups = 1, .positions = 768, .out_block = 13200, .residual_block = 0, .group_rows = 0, .bounds = 6256, .offsets = 6272, .weights = 6352, .bias = 7552, .at = 7568, .residual_at = 0, .in_at = (const int32_t[]){8336, 9104}, .activation = 0, .residual_last = 0, .low = 0.0f, .high = INFINITY};
/* state.look.7.conv.slot0.out: convolution 1x3x3 / 2, 16 -> 32 channels, 12 x 16 */
static const conv_layer conv_layer_2 = {.sources = 1, .slices = 1, .groups = 1, .positions = 192, .out_block = 3072, .residual_block = 0, .group_rows = 9872, .bounds = 9888, .offsets = 9904, .weights = 10048, .bias = 14656, .at = 14688, .residual_at = 0, .in_at = (const int32_t[]){14880}, .activation = 0, .residual_last = 0, .low = 0.0f, .high = INFINITY};
/* look.7.add: convolution 1x1x1 / 1, 96 -> 32 channels, 12 x 16 */
static const conv_layer conv_layer_3 = {.sources = 3, .slices = 1, .groups = 1, .positions = 192, .out_block = 3536, .residual_block = 3072, .group_rows = 9872, .bounds = 15072, .offsets = 15088, .weights = 15184, .bias = 18256, .at = 18288, .residual_at = 14688, .in_at = (const int32_t[]){14688, 14688, 14688}, .activation = 0, .residual_last = 1, .low = 0.0f, .high = INFINITY};
/* state.look.11.conv.slot0.out: convolution 1x3x3 / 2, 32 -> 48 channels, 6 x 8 */
static const conv_layer conv_layer_4 = {.sources = 1, .slices = 1, .groups = 2, .positions = 48, .out_block = 768, .residual_block = 0, .group_rows = 18480, .bounds = 18496, .offsets = 18512, .weights = 18800, .bias = 32624, .at = 32672, .residual_at = 0, .in_at = (const int32_t[]){32720}, .activation = 0, .residual_last = 0, .low = 0.0f, .high = INFINITY};
/* look.11.add: convolution 1x1x1 / 1, 144 -> 48 channels, 6 x 8 */
static const conv_layer conv_layer_5 = {.sources = 3, .slices = 1, .groups = 2, .positions = 48, .out_block = 1008, .residual_block = 768, .group_rows = 32768, .bounds = 32784, .offsets = 32800, .weights = 32944, .bias = 39856, .at = 39904, .residual_at = 32672, .in_at = (const int32_t[]){32672, 32672, 32672}, .activation = 0, .residual_last = 1, .low = 0.0f, .high = INFINITY};
/* state.look.15.conv.slot0.out: convolution 1x3x3 / 2, 48 -> 64 channels, 3 x 4 */
static const conv_layer conv_layer_6 = {.sources = 1, .slices = 1, .groups = 2, .positions = 12, .out_block = 192, .residual_block = 0, .group_rows = 39952, .bounds = 39968, .offsets = 39984, .weights = 40416, .bias = 68064, .at = 68128, .residual_at = 0, .in_at = (const int32_t[]){68144}, .activation = 0, .residual_last = 0, .low = 0.0f, .high = INFINITY};
/* look.15.add: convolution 1x1x1 / 1, 192 -> 64 channels, 3 x 4 */
static const conv_layer conv_layer_7 = {.sources = 3, .slices = 1, .groups = 2, .positions = 12, .out_block = 192, .residual_block = 192, .group_rows = 68160, .bounds = 68176, .offsets = 68192, .weights = 68384, .bias = 80672, .at = 68128, .residual_at = 68128, .in_at = (const int32_t[]){68128, 68128, 68128}, .activation = 0, .residual_last = 1, .low = 0.0f, .high = INFINITY};
/* look.relu#5: convolution 1x3x4 / 1, 64 -> 96 channels, 1 x 1 */
static const conv_layer conv_layer_8 = {.sources = 1, .slices = 1, .groups = 3, .positions = 1, .out_block = 16, .residual_block = 0, .group_rows = 80736, .bounds = 80752, .offsets = 80768, .weights = 81536, .bias = 155264, .at = 155360, .residual_at = 0, .in_at = (const int32_t[]){155360}, .activation = 0, .residual_last = 0, .low = 0.0f, .high = INFINITY};
/* follow.0.add: convolution 1x1x1 / 1, 288 -> 96 channels, 1 x 1 */
static const conv_layer conv_layer_9 = {.sources = 3, .slices = 1, .groups = 3, .positions = 1, .out_block = 16, .residual_block = 16, .group_rows = 155376, .bounds = 155392, .offsets = 155408, .weights = 155696, .bias = 183344, .at = 155360, .residual_at = 155360, .in_at = (const int32_t[]){155360, 155360, 155360}, .activation = 0, .residual_last = 1, .low = 0.0f, .high = INFINITY};
/* follow.1.add: convolution 1x1x1 / 1, 288 -> 96 channels, 1 x 1 */
static const conv_layer conv_layer_10 = {.sources = 3, .slices = 1, .groups = 3, .positions = 1, .out_block = 16, .residual_block = 16, .group_rows = 155376, .bounds = 155392, .offsets = 155408, .weights = 183440, .bias = 211088, .at = 155360, .residual_at = 155360, .in_at = (const int32_t[]){155360, 155360, 155360}, .activation = 0, .residual_last = 1, .low = 0.0f, .high = INFINITY};
/* follow.2.add: convolution 1x1x1 / 1, 288 -> 96 channels, 1 x 1 */
static const conv_layer conv_layer_11 = {.sources = 3, .slices = 1, .groups = 3, .positions = 1, .out_block = 16, .residual_block = 16, .group_rows = 155376, .bounds = 155392, .offsets = 155408, .weights = 211184, .bias = 238832, .at = 155360, .residual_at = 155360, .in_at = (const int32_t[]){155360, 155360, 155360}, .activation = 0, .residual_last = 1, .low = 0.0f, .high = INFINITY};
static const map_layer map_layer_0 = {.blocks = 6, .rows = 1, .floats = 16, .out_block = 16, .out_row = 16, .in_block = (const int32_t[]){16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16}, .in_row = (const int32_t[]){16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16}};
/* logits: convolution 1x1x1 / 1, 96 -> 8 channels, 1 x 1 */
static const conv_layer conv_layer_12 = {.sources = 1, .slices = 1, .groups = 1, .positions = 1, .out_block = 16, .residual_block = 0, .group_rows = 0, .bounds = 238928, .offsets = 238944, .weights = 239040, .bias = 240576, .at = 155360, .residual_at = 0, .in_at = (const int32_t[]){155360}, .activation = 0, .residual_last = 0, .low = -INFINITY, .high = INFINITY};

static const int64_t buffers_start[] = {136, 10272, 28704, 35616, 37920};
static const int64_t buffers_floats[] = {3424, 6144, 2304, 768, 96};
static const int64_t buffers_first[] = {0, 3, 6, 9, 12};
static const int64_t slot_buffers[] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4};
static const int64_t fresh_buffers[] = {0, 1, 2, 3, 4, 4, 4, 4};
/* -- states --------------------------------------------------------------------------------------------------------------------- */

/* Frames that outlive a step live in pools of buffers. After a step every state points to what it holds now; buffers that nobody
   points to are free for the next step. Nothing is copied. Fills (what was before the first frame) lie outside the pools. */
static void keep(ef_stream *s, const float *const *next) {
    unsigned char taken[EF_BUFFERS + 1] = {0};
    for (int i = 0; i < EF_SLOTS; i++) {
        const int64_t pool = slot_buffers[i], at = next[i] - s->arena;
        s->slot[i] = (float *)next[i];
        if (at >= 0 && at < EF_STATE_FLOATS) taken[buffers_first[pool] + (at - buffers_start[pool]) / buffers_floats[pool]] = 1;
    }
    for (int i = 0; i < EF_FRESH; i++) {
        const int64_t pool = fresh_buffers[i];
        int64_t n = 0;
        while (taken[buffers_first[pool] + n]) n++;
        taken[buffers_first[pool] + n] = 1;
        s->fresh[i] = s->arena + buffers_start[pool] + n * buffers_floats[pool];
    }
}

static void fill(float *out, const form *f, float value) {
    for (int32_t c = 0; c < f->channels; c++)
        for (int32_t y = 0; y < f->height; y++)
            for (int32_t x = 0; x < f->width; x++) out[value_at(f, c, y, x)] = value;
}

static void fill_constants(ef_stream *s) {
    float *const a = s->arena;
    (void)a;
    (void)fill;
}

static void start_states(ef_stream *s) {
    float *const a = s->arena;
    (void)a;
    const float *const start[EF_SLOTS + 1] = {
        (a + 40456),
        (a + 40456),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        (a + 40320),
        NULL,
    };
    keep(s, start);
}

/* -- the step ------------------------------------------------------------------------------------------------------------------- */

static inline void shared(ef_stream *s, kernel run, const void *layer, float *out, const float *residual, const float *const *in,
                          const float *numbers) {
    const job j = {s, layer, out, residual, in, numbers};
    pool_run(&s->pool, run, &j);
}

/* For what is too small to be worth waking threads. */
static inline void alone(ef_stream *s, kernel run, const void *layer, float *out, const float *residual, const float *const *in,
                         const float *numbers) {
    const job j = {s, layer, out, residual, in, numbers};
    run(&j, 0, 1);
}


int ef_step(ef_stream *s, const float *frames, float *logits) {
    if (!s || !frames || !logits) return EF_BAD_ARGUMENT;
    float *const a = s->arena;
    (void)a;
    const int64_t n0 = s->counter[0];
    (void)n0;
    /* state.look.0.conv.slot0.in */
    const float *f0 = s->slot[0];
    /* state.look.0.conv.slot1.in */
    const float *f1 = s->slot[1];
    /* state.look.7.conv.slot0.in */
    const float *f2 = s->slot[2];
    /* state.look.7.conv.slot1.in */
    const float *f3 = s->slot[3];
    /* state.look.11.conv.slot0.in */
    const float *f4 = s->slot[4];
    /* state.look.11.conv.slot1.in */
    const float *f5 = s->slot[5];
    /* state.look.15.conv.slot0.in */
    const float *f6 = s->slot[6];
    /* state.look.15.conv.slot1.in */
    const float *f7 = s->slot[7];
    /* state.follow.0.conv.in */
    const float *f8 = s->slot[8];
    const float *f9 = s->slot[9];
    /* state.follow.1.conv.in */
    const float *f10 = s->slot[10];
    const float *f11 = s->slot[11];
    const float *f12 = s->slot[12];
    const float *f13 = s->slot[13];
    /* state.follow.2.conv.in */
    const float *f14 = s->slot[14];
    const float *f15 = s->slot[15];
    const float *f16 = s->slot[16];
    const float *f17 = s->slot[17];
    /* state.follow.2.reducemean.in */
    const float *f18 = s->slot[18];
    const float *f19 = s->slot[19];
    const float *f20 = s->slot[20];
    const float *f21 = s->slot[21];
    const float *f22 = s->slot[22];
    const float *f23 = s->slot[23];
    const float *f24 = s->slot[24];
    const float *f25 = s->slot[25];
    const float *f26 = s->slot[26];
    const float *f27 = s->slot[27];
    const float *f28 = s->slot[28];
    /* frames */
    float *f29 = s->fresh[0];
    alone(s, import, &import_layer_0, f29, NULL, (const float *const[]){frames + 0}, NULL);
    /* look.0.tanh */
    float *f32 = a + 49408;
    alone(s, conv, &conv_layer_0, f32, NULL, (const float *const[]){f1, f0, f29}, NULL);
    /* look.relu */
    float *f34 = a + 102448;
    shared(s, conv, &conv_layer_1, f34, NULL, (const float *const[]){f29, f32}, NULL);
    /* state.look.7.conv.slot0.out */
    float *f37 = s->fresh[1];
    shared(s, conv, &conv_layer_2, f37, NULL, (const float *const[]){f34}, NULL);
    /* look.7.add */
    float *f41 = a + 115392;
    shared(s, conv, &conv_layer_3, f41, f37, (const float *const[]){f3, f2, f37}, NULL);
    /* state.look.11.conv.slot0.out */
    float *f43 = s->fresh[2];
    shared(s, conv, &conv_layer_4, f43, NULL, (const float *const[]){f41}, NULL);
    /* look.11.add */
    float *f47 = a + 122336;
    shared(s, conv, &conv_layer_5, f47, f43, (const float *const[]){f5, f4, f43}, NULL);
    /* state.look.15.conv.slot0.out */
    float *f49 = s->fresh[3];
    shared(s, conv, &conv_layer_6, f49, NULL, (const float *const[]){f47}, NULL);
    /* look.15.add */
    float *f53 = a + 46464;
    shared(s, conv, &conv_layer_7, f53, f49, (const float *const[]){f7, f6, f49}, NULL);
    /* look.relu#5 */
    float *f55 = s->fresh[4];
    shared(s, conv, &conv_layer_8, f55, NULL, (const float *const[]){f53}, NULL);
    /* follow.0.add */
    float *f59 = s->fresh[5];
    alone(s, conv, &conv_layer_9, f59, f55, (const float *const[]){f8, f9, f55}, NULL);
    /* follow.1.add */
    float *f62 = s->fresh[6];
    alone(s, conv, &conv_layer_10, f62, f59, (const float *const[]){f10, f12, f59}, NULL);
    /* follow.2.add */
    float *f65 = s->fresh[7];
    alone(s, conv, &conv_layer_11, f65, f62, (const float *const[]){f14, f16, f62}, NULL);
    /* follow.2.reducemean::mean */
    float *f67 = a + 46464;
    alone(s, map_0, &map_layer_0, f67, NULL, (const float *const[]){f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f65}, (const float[]){(float)(table_0[1 * clamp_index(MIN(n0, INT64_C(11)), 12) + 0])});
    /* logits */
    float *f68 = a + 46560;
    alone(s, conv, &conv_layer_12, f68, NULL, (const float *const[]){f67}, NULL);
    memcpy(logits + 0, f68, 8 * sizeof(float));
    const float *const next[EF_SLOTS + 1] = {
        f29,
        f0,
        f37,
        f2,
        f43,
        f4,
        f49,
        f6,
        f9,
        f55,
        f11,
        f12,
        f13,
        f59,
        f15,
        f16,
        f17,
        f62,
        f19,
        f20,
        f21,
        f22,
        f23,
        f24,
        f25,
        f26,
        f27,
        f28,
        f65,
        NULL,
    };
    keep(s, next);
    s->counter[0] = MIN(((n0) + (INT64_C(1))), INT64_C(11));
    return EF_OK;
}

/* -- the stream ----------------------------------------------------------------------------------------------------------------- */

#define EF_ARENA_OFFSET ((sizeof(struct ef_stream) + 63) / 64 * 64)
_Static_assert(sizeof(struct ef_stream) <= EF_HEAD_BYTES, "EF_HEAD_BYTES is too small for this platform");

#ifdef EF_EMBED
/* The weights as part of the library: EF_EMBED is the file's name in quotes. */
__asm__(".section .rodata\n.balign 64\nef_embedded:\n.incbin \"" EF_EMBED "\"\n.balign 64\n.previous\n");
extern const unsigned char ef_embedded[] __attribute__((visibility("hidden")));
#endif

#ifdef EF_STATIC_ARENA
static _Alignas(64) unsigned char ef_arena[EF_MEMORY_BYTES];
#endif

static int weights_fit(const uint32_t *words, size_t bytes) {
    if (bytes < 64 || memcmp(words, "EFWEIGHT", 8) || words[2] != EF_WEIGHT_FORMAT || words[3] != EF_WEIGHT_WORDS) return 0;
    if (bytes < 64 + 4 * (size_t)EF_WEIGHT_WORDS) return 0;
    if (words[6] != (uint32_t)(EF_MODEL_HASH & 0xffffffffu) || words[7] != (uint32_t)(EF_MODEL_HASH >> 32)) return 0;
    uint64_t first = 0, second = 0;
    for (uint32_t i = 0; i < EF_WEIGHT_WORDS; i++) {
        first += words[16 + i];
        second += (uint64_t)words[16 + i] * (i % 65521 + 1);
    }
    return words[4] == (uint32_t)first && words[5] == (uint32_t)second;
}

int ef_reset(ef_stream *s) {
    if (!s) return EF_BAD_ARGUMENT;
    for (int i = 0; i < EF_COUNTERS; i++) s->counter[i] = 0;
    start_states(s);
    return EF_OK;
}

int ef_init(void *memory, size_t bytes, const void *weights, size_t weight_bytes, int threads, ef_stream **stream) {
    if (!stream || threads < 1 || threads > EF_MAX_THREADS) return EF_BAD_ARGUMENT;
    *stream = NULL;
#ifdef EF_STATIC_ARENA
    if (!memory) {
        memory = ef_arena;
        bytes = sizeof ef_arena;
    }
#endif
    if (!memory || bytes < EF_MEMORY_BYTES) return EF_NO_MEMORY;
    if ((uintptr_t)memory % 64) return EF_BAD_ARGUMENT;
#ifdef EF_EMBED
    if (!weights) {
        weights = ef_embedded;
        weight_bytes = 64 + 4 * (size_t)EF_WEIGHT_WORDS;
    }
#endif
    if (!weights) return EF_BAD_WEIGHTS;
    if ((uintptr_t)weights % 64) return EF_BAD_ARGUMENT;
    if (!weights_fit(weights, weight_bytes)) return EF_BAD_WEIGHTS;
    memset(memory, 0, EF_MEMORY_BYTES);
    ef_stream *s = memory;
    s->weights = (const float *)weights + 16;
    s->arena = (float *)((unsigned char *)memory + EF_HEAD_BYTES);
    fill_constants(s);
    if (pool_start(&s->pool, threads)) return EF_NO_THREADS;
    ef_reset(s);
    *stream = s;
    return EF_OK;
}

void ef_free(ef_stream *s) {
    if (s) pool_stop(&s->pool);
}
