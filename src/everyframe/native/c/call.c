/* -- the step ------------------------------------------------------------------------------------------------------------------- */

#ifdef EF_PROFILE
/* Nanoseconds of each call of the last step, in order. EF_PROFILE is the clock: CLOCK_MONOTONIC, or with one thread
   CLOCK_THREAD_CPUTIME_ID, which other processes hardly change. */
#include <time.h>
EF_API int64_t ef_profile[EF_CALLS];
static unsigned ef_profiled; /* calls so far; all steps have the same */

static int64_t now(void) {
    struct timespec t;
    clock_gettime(EF_PROFILE, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
#define TIMED(call)                                                       \
    do {                                                                  \
        const int64_t started = now();                                    \
        call;                                                             \
        ef_profile[ef_profiled++ % EF_CALLS] = now() - started;           \
    } while (0)
#else
#define TIMED(call) call
#endif

/* Not inlined: a clip network has a thousand calls, and inlining them takes the compiler most of its time. */
static __attribute__((noinline)) void shared(ef_stream *s, kernel run, const void *layer, float *out, const float *residual,
                                             const float *const *in, const float *numbers) {
    const job j = {.stream = s, .layer = layer, .out = out, .residual = residual, .in = in, .numbers = numbers};
    TIMED(pool_run(&s->pool, run, &j));
}

/* Several frames of one layer: as many pointers of each, and `in` holds the sources of all. */
static __attribute__((noinline)) void together(ef_stream *s, kernel run, const void *layer, int32_t frames, float *const *out,
                                               const float *const *residual, const float *const *in) {
    const job j = {.stream = s, .layer = layer, .out = out[0], .residual = residual[0], .in = in,
                   .more = frames - 1, .more_out = out + 1, .more_residual = residual + 1};
    TIMED(pool_run(&s->pool, run, &j));
}

/* For what is too small to be worth waking threads. */
static __attribute__((noinline)) void alone(ef_stream *s, kernel run, const void *layer, float *out, const float *residual,
                                            const float *const *in, const float *numbers) {
    const job j = {.stream = s, .layer = layer, .out = out, .residual = residual, .in = in, .numbers = numbers};
    TIMED(run(&j, 0, 1));
}

