/* -- chains of convolutions, some rows at a time -------------------------------------------------------------------------------- */

/* A chain has levels. What a level makes is read by the next one alone, so only some rows of that have to be there: those that the next
   rows of the last one need. They lie at the front of a place that stays in the second-level cache; rows that are needed again move there.
   A level has one frame, or several if convolutions of the next read several. What is summed, and in which order, does not change.

   rows, blocks, row, plane   of its outputs: all of their rows; blocks of channels; floats to the next row and block
   edge                       floats from the beginning of a row to its first position
   floats                     of the place of an output
   reach, stride, top         of its kernels: rows of the input that a row of the output reads, from one to the next, and that lie above it */
typedef struct {
    int32_t rows, blocks, row, plane, edge, floats, reach, stride, top;
} strips_level;

/* A convolution, with as many sources. Those of the first level read whole frames, others what the level before has made. */
typedef struct {
    kernel run;
    const void *layer;
    int32_t level, sources;
} strips_stage;

/* rows: of the last level, at a time. copies: of all places, one for each thread that takes part. last: level. stage: in order. */
typedef struct {
    int32_t rows, copies, last;
    const strips_level *level;
    const strips_stage *stage;
} strips_layer;

static inline float *strips_out(const job *g, int32_t i) { return i ? g->more_out[i - 1] : g->out; }

/* A job has the outputs of all stages, one behind the other, and what they read. Threads share rows of the last level. */
static void strips(const job *g, int part, int parts) {
    const strips_layer *layer = g->layer;
    const strips_level *level = layer->level;
    const int32_t last = layer->last, all = level[last].rows, threads = MIN(parts, layer->copies);
    if (part >= threads) return;
    int32_t made[EF_STRIPS], wanted[EF_STRIPS], held[EF_STRIPS]; /* rows; `held`: the first that is there */
    int32_t again[EF_STRIPS], clear[EF_STRIPS], front[EF_STRIPS]; /* rows that are needed again, that are padding; where those lie */
    const int32_t end = begin(all, part + 1, threads);
    made[last] = begin(all, part, threads);
    held[last] = 0;
    for (int32_t l = last - 1; l >= 0; l--) {
        held[l] = made[l + 1] * level[l + 1].stride - level[l + 1].top;
        made[l] = MAX(0, held[l]);
    }
    for (int32_t i = 0; i <= g->more; i++) {
        const int32_t l = layer->stage[i].level;
        const strips_level *k = level + l;
        if (l < last && (k->edge || held[l] < 0)) /* what lies outside */
            memset(strips_out(g, i) + (int64_t)part * k->floats - k->edge, 0, sizeof(float) * k->floats);
    }
    while (made[last] < end) {
        wanted[last] = MIN(made[last] + layer->rows, end);
        for (int32_t l = last - 1; l >= 0; l--) {
            const strips_level *k = level + l, *next = k + 1;
            const int32_t first = MIN(made[l + 1] * next->stride - next->top, made[l]);
            const int32_t until = (wanted[l + 1] - 1) * next->stride - next->top + next->reach;
            wanted[l] = MAX(made[l], MIN(until, k->rows));
            front[l] = first - held[l];
            again[l] = front[l] > 0 ? made[l] - first : 0;
            clear[l] = until - k->rows;
            held[l] = MAX(first, held[l]);
        }
        const float *const *in = g->in;
        for (int32_t i = 0; i <= g->more; i++) {
            const strips_stage *stage = layer->stage + i;
            const int32_t l = stage->level;
            const strips_level *k = level + l;
            float *out = strips_out(g, i);
            if (l < last) {
                out += (int64_t)part * k->floats;
                for (int32_t b = 0; b < k->blocks && (again[l] > 0 || clear[l] > 0); b++) {
                    float *block = out + (int64_t)b * k->plane - k->edge;
                    if (again[l] > 0) memmove(block, block + (int64_t)front[l] * k->row, sizeof(float) * again[l] * k->row);
                    if (clear[l] > 0) memset(block + (int64_t)(k->rows - held[l]) * k->row, 0, sizeof(float) * clear[l] * k->row);
                }
                out -= (int64_t)held[l] * k->row;
            }
            const float *read[EF_MAX_SOURCES];
            for (int32_t s = 0; s < stage->sources; s++) {
                const int64_t shift = l ? (int64_t)part * k[-1].floats - (int64_t)held[l - 1] * k[-1].row : 0;
                read[s] = in[s] ? in[s] + shift : NULL;
            }
            in += stage->sources;
            const job j = {.stream = g->stream, .layer = stage->layer, .out = out,
                           .residual = i ? g->more_residual[i - 1] : g->residual, .in = read,
                           .first = made[l], .rows = wanted[l] - made[l]};
            if (j.rows > 0) stage->run(&j, 0, 1);
        }
        memcpy(made, wanted, sizeof(int32_t) * (last + 1));
    }
}
