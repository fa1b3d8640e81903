/* -- chains of convolutions, some rows at a time -------------------------------------------------------------------------------- */

/* Each convolution of a chain alone reads what the one before it makes, so only some rows of that have to be there: those that the next
   rows of the last one need. They lie at the front of a place that stays in the second-level cache; rows that are needed again move there.
   What is summed, and in which order, does not change.

   rows, blocks, row, plane   of its output: all of its rows; blocks of channels; floats to the next row and block
   edge                       floats from the beginning of a row to its first position
   floats                     of the place of its output
   reach, stride, top         of its kernel: rows of the input that a row of the output reads, from one to the next, and that lie above it */
typedef struct {
    kernel run;
    const void *layer;
    int32_t rows, blocks, row, plane, edge, floats, reach, stride, top;
} strip;

/* rows: of the last one, at a time. copies: of all places, one for each thread that takes part. */
typedef struct {
    int32_t rows, copies;
    const strip *chain;
} strips_layer;

/* A job has the outputs of all, one behind the other, and what the first reads. Threads share rows of the last one. */
static void strips(const job *g, int part, int parts) {
    const strips_layer *layer = g->layer;
    const strip *chain = layer->chain;
    const int32_t last = g->more, all = chain[last].rows, threads = MIN(parts, layer->copies);
    if (part >= threads) return;
    float *out[EF_STRIPS];
    int32_t made[EF_STRIPS], wanted[EF_STRIPS], held[EF_STRIPS]; /* rows; `held`: the first that is there */
    const int32_t end = begin(all, part + 1, threads);
    made[last] = begin(all, part, threads);
    held[last] = 0;
    for (int32_t i = last; i >= 0; i--) {
        out[i] = i ? g->more_out[i - 1] : g->out;
        if (i == last) continue;
        out[i] += (int64_t)part * chain[i].floats;
        held[i] = made[i + 1] * chain[i + 1].stride - chain[i + 1].top;
        made[i] = MAX(0, held[i]);
        if (chain[i].edge || held[i] < 0) memset(out[i] - chain[i].edge, 0, sizeof(float) * chain[i].floats); /* what lies outside */
    }
    while (made[last] < end) {
        wanted[last] = MIN(made[last] + layer->rows, end);
        for (int32_t i = last; i > 0; i--) {
            const strip *k = chain + i - 1, *next = chain + i;
            const int32_t first = MIN(made[i] * next->stride - next->top, made[i - 1]);
            const int32_t until = (wanted[i] - 1) * next->stride - next->top + next->reach;
            wanted[i - 1] = MAX(made[i - 1], MIN(until, k->rows));
            for (int32_t b = 0; b < k->blocks; b++) {
                float *block = out[i - 1] + (int64_t)b * k->plane - k->edge;
                if (first > held[i - 1] && made[i - 1] > first)
                    memmove(block, block + (int64_t)(first - held[i - 1]) * k->row, sizeof(float) * (made[i - 1] - first) * k->row);
                if (until > k->rows)
                    memset(block + (int64_t)(k->rows - MAX(first, held[i - 1])) * k->row, 0, sizeof(float) * (until - k->rows) * k->row);
            }
            held[i - 1] = MAX(first, held[i - 1]);
        }
        const float *before = NULL;
        for (int32_t i = 0; i <= last; i++) {
            float *there = out[i] - (int64_t)held[i] * chain[i].row;
            const job j = {.stream = g->stream, .layer = chain[i].layer, .out = there,
                           .residual = i ? g->more_residual[i - 1] : g->residual, .in = i ? &before : g->in,
                           .first = made[i], .rows = wanted[i] - made[i]};
            if (j.rows > 0) chain[i].run(&j, 0, 1);
            made[i] = wanted[i];
            before = there;
        }
    }
}
