/* -- the step ------------------------------------------------------------------------------------------------------------------- */

/* Not inlined: a clip network has a thousand calls, and inlining them takes the compiler most of its time. */
static __attribute__((noinline)) void shared(ef_stream *s, kernel run, const void *layer, float *out, const float *residual,
                                             const float *const *in, const float *numbers) {
    const job j = {s, layer, out, residual, in, numbers};
    pool_run(&s->pool, run, &j);
}

/* For what is too small to be worth waking threads. */
static __attribute__((noinline)) void alone(ef_stream *s, kernel run, const void *layer, float *out, const float *residual,
                                            const float *const *in, const float *numbers) {
    const job j = {s, layer, out, residual, in, numbers};
    run(&j, 0, 1);
}

