/* -- chains of convolutions, some rows at a time -------------------------------------------------------------------------------- */

/* Each convolution of a chain alone reads what the one before it makes, so only some rows of that have to be there: those that the next
   rows of the last one need. They lie at the front of a place that stays in the second-level cache; rows that are needed again move there.
   What is summed, and in which order, does not change.

   rows, blocks, row, plane   of its output: all of its rows; blocks of channels; floats to the next row and block
   edge                       floats from the beginning of a row to its first position
   reach, stride, top         of its kernel: rows of the input that a row of the output reads, from one to the next, and that lie above it */
typedef struct {
    kernel run;
    const void *layer;
    int32_t rows, blocks, row, plane, edge, reach, stride, top;
} strip;

/* Rows outside a frame. at: of those that are held. */
static void strip_clear(const strip *k, float *held, int32_t at, int32_t rows) {
    for (int32_t b = 0; b < k->blocks; b++)
        memset(held + (int64_t)b * k->plane + (int64_t)at * k->row - k->edge, 0, sizeof(float) * rows * k->row);
}

/* rows: of the last one, at a time. out: where each writes; in: what the first one reads. */
static void strip_rows(ef_stream *s, const strip *chain, int32_t count, int32_t rows, float *const *out, const float *const *residual,
                       const float *const *in) {
    int32_t made[EF_STRIPS], wanted[EF_STRIPS], held[EF_STRIPS]; /* rows; `held`: the first that is there */
    const int32_t last = count - 1;
    for (int32_t i = 0; i < count; i++) {
        made[i] = 0;
        held[i] = i < last ? -chain[i + 1].top : 0;
        if (held[i]) strip_clear(chain + i, out[i], 0, -held[i]);
    }
    while (made[last] < chain[last].rows) {
        wanted[last] = MIN(made[last] + rows, chain[last].rows);
        for (int32_t i = last; i > 0; i--) {
            const strip *k = chain + i - 1, *next = chain + i;
            const int32_t first = MIN(made[i] * next->stride - next->top, made[i - 1]);
            const int32_t end = (wanted[i] - 1) * next->stride - next->top + next->reach;
            wanted[i - 1] = MAX(made[i - 1], MIN(end, k->rows));
            if (first > held[i - 1]) {
                for (int32_t b = 0; b < k->blocks && made[i - 1] > first; b++) {
                    float *to = out[i - 1] + (int64_t)b * k->plane - k->edge;
                    memmove(to, to + (int64_t)(first - held[i - 1]) * k->row, sizeof(float) * (made[i - 1] - first) * k->row);
                }
                held[i - 1] = first;
            }
            if (end > k->rows) strip_clear(k, out[i - 1], k->rows - held[i - 1], end - k->rows);
        }
        const float *before = NULL;
        for (int32_t i = 0; i < count; i++) {
            const strip *k = chain + i;
            float *there = out[i] - (int64_t)held[i] * k->row;
            const job j = {.stream = s, .layer = k->layer, .out = there, .residual = residual[i], .in = i ? &before : in,
                           .first = made[i], .rows = wanted[i] - made[i]};
            if (j.rows > 0) pool_run(&s->pool, k->run, &j);
            made[i] = wanted[i];
            before = there;
        }
    }
}

static __attribute__((noinline)) void strips(ef_stream *s, const strip *chain, int32_t count, int32_t rows, float *const *out,
                                             const float *const *residual, const float *const *in) {
    TIMED(strip_rows(s, chain, count, rows, out, residual, in));
}
