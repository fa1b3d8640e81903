/* -- convolution by tables -------------------------------------------------------------------------------------------------- */

/* Output channels come in groups of H vectors, positions in runs of Q side by side; H * Q sums stay in registers while the group's
   entries go by. An entry is an offset into a source frame and H vectors of weights: one value of each of Q positions is broadcast
   and multiplied with them. Entries with zero weights are not in the tables, null frames are time padding and skipped, and so are
   kernel rows and columns that lie in the padding.

   group_rows   per group: vectors, first block of channels, first weight, first offset
   bounds       per group, slice, source, span and kernel row: its first entry, counted within the group; one more at the end.
                Where a run is a whole row there are three spans: entries that miss its first position, all others, those
                that miss its last; else one.
   reach        per output row: its first kernel row that is not padding, and the one after the last
   in_first, in_row   per source: where the kernel stands for the first output position, and from one output row to the next */
typedef struct {
    int32_t sources, slices, groups, rows, columns, kernel_rows, kind, spans;
    int32_t out_block, out_row, residual_block, residual_row;
    uint32_t group_rows, bounds, offsets, weights, bias, reach;
    const int32_t *in_first, *in_row;
    int32_t activation, residual_last;
    float low, high;
} conv_layer;

/* A group and a slice of entries. first, last: slice; sums wait in the output between slices. */
typedef struct {
    const conv_layer *layer;
    const float *const *in;
    float *out;
    const float *residual, *bias, *weights;
    const int32_t *bounds, *offsets, *reach;
    int first, last, fetch;
} tile_job;

/* Entries from .. to - 1 for the positions FIRST .. END - 1 of the run. */
#define CONV_ENTRIES(H, STEP, Q_,  FIRST, END, from, to)                                                           \
    do {                                                                                                      \
        const int32_t end_ = (to);                                                                            \
        int32_t e = (from);                                                                                   \
        const float *w = j->weights + (int64_t)e * (H * VL);                                                  \
        for (; e < end_; e++, w += H * VL) {                                                                  \
            const float *x = in + j->offsets[e];                                                              \
            if (j->fetch)                                                                                     \
                for (int i = 0; i < 4; i++) __builtin_prefetch(x + Q_ * STEP + (e % (VL / 4)) * 64 + 16 * i); \
            vf weight[H];                                                                                     \
            for (int h = 0; h < H; h++) {                                                                     \
                weight[h] = load(w + h * VL);                                                                 \
                PIN(weight[h]);                                                                               \
            }                                                                                                 \
            for (int q = FIRST; q < END; q++) {                                                               \
                vf value = splat(x[q * STEP]);                                                                \
                PIN(value);                                                                                   \
                for (int h = 0; h < H; h++) sum[q][h] += value * weight[h];                                   \
            }                                                                                                 \
        }                                                                                                     \
    } while (0)

/* `runs` runs of Q positions from column x on, in each of `rows` rows. STEP: floats from one position's input to the next. */
#define CONV_TILE(H, Q, STEP, SPANS)                                                                          \
    static void conv_##H##x##Q##_##STEP##_##SPANS(const tile_job *j, int32_t y, int32_t rows, int32_t column, int32_t runs) { \
        const conv_layer *k = j->layer;                                                                       \
        for (const int32_t last = y + rows; y < last; y++) {                                                  \
            float *out = j->out + (int64_t)y * k->out_row + column * VL;                                      \
            const float *residual = j->residual ? j->residual + (int64_t)y * k->residual_row + column * VL : NULL; \
            const int32_t top = j->reach[2 * y], below = j->reach[2 * y + 1];                                 \
            for (int32_t run = 0; run < runs; run++, out += Q * VL) {                                         \
                vf sum[Q][H];                                                                                 \
                for (int q = 0; q < Q; q++)                                                                   \
                    for (int h = 0; h < H; h++)                                                               \
                        sum[q][h] = j->first ? load(j->bias + h * VL) : load(out + q * VL + (int64_t)h * k->out_block); \
                for (int32_t s = 0; s < k->sources; s++) {                                                    \
                    if (!j->in[s]) continue;                                                                  \
                    const float *in = j->in[s] + k->in_first[s] + (int64_t)y * k->in_row[s] + (column + run * Q) * STEP; \
                    const int32_t *bounds = j->bounds + s * k->kernel_rows * SPANS;                           \
                    if (SPANS == 1) {                                                                         \
                        CONV_ENTRIES(H, STEP, Q, 0, Q, bounds[top], bounds[below]);                              \
                        continue;                                                                             \
                    }                                                                                         \
                    CONV_ENTRIES(H, STEP, Q, 1, Q, bounds[top], bounds[below]);                                  \
                    bounds += k->kernel_rows;                                                                 \
                    CONV_ENTRIES(H, STEP, Q, 0, Q, bounds[top], bounds[below]);                                  \
                    bounds += k->kernel_rows;                                                                 \
                    CONV_ENTRIES(H, STEP, Q, 0, Q - 1, bounds[top], bounds[below]);                              \
                }                                                                                             \
                if (j->last) {                                                                                \
                    if (residual && !k->residual_last)                                                        \
                        for (int q = 0; q < Q; q++)                                                           \
                            for (int h = 0; h < H; h++)                                                       \
                                sum[q][h] += load(residual + (run * Q + q) * VL + (int64_t)h * k->residual_block); \
                    if (k->activation)                                                                        \
                        for (int q = 0; q < Q; q++)                                                           \
                            for (int h = 0; h < H; h++) sum[q][h] = activate(k->activation, sum[q][h]);       \
                    for (int q = 0; q < Q; q++)                                                               \
                        for (int h = 0; h < H; h++) sum[q][h] = vmin(splat(k->high), vmax(splat(k->low), sum[q][h])); \
                    if (residual && k->residual_last)                                                         \
                        for (int q = 0; q < Q; q++)                                                           \
                            for (int h = 0; h < H; h++)                                                       \
                                sum[q][h] += load(residual + (run * Q + q) * VL + (int64_t)h * k->residual_block); \
                }                                                                                             \
                for (int q = 0; q < Q; q++)                                                                   \
                    for (int h = 0; h < H; h++) store(out + q * VL + (int64_t)h * k->out_block, sum[q][h]);   \
            }                                                                                                 \
        }                                                                                                     \
    }
