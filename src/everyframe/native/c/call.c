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

