/* -- convolution by tables -------------------------------------------------------------------------------------------------- */

/* Output channels come in groups of H vectors, positions in runs of Q side by side; H * Q sums stay in registers while the group's
   entries go by. An entry is an offset into a source frame and H vectors of weights: one value of each of Q positions is broadcast
   and multiplied with them. Entries with zero weights are not in the tables, null frames are time padding and skipped, and so are
   kernel rows and columns that lie in the padding.

   group_rows   per group: vectors, first block of channels, first weight (in words), first offset, first scale
   bounds       per group, slice, source, span and kernel row: its first entry, counted within the group; one more at the end.
                Where a run is a whole row there are three spans: entries that miss its first position, all others, those
                that miss its last; else one.
   reach        per output row: its first kernel row that is not padding, and the one after the last
   paired       two short rows go through the registers together
   fetch        lines of 64 bytes that each entry of the first group asks for
   block        positions over which all groups pass before the next
   longest      positions side by side, if not fewer fit into the registers
   row_weights  words from the weights of one output row to those of the next, 0 where all have the same; row_scales: of scales
   scales       of weights of 16 bits (see `conv_halved.c`); expand: they become floats before they are multiplied
   in_first, in_row   per source: where the kernel stands for the first output position, and from one output row to the next
   few          lanes of a vector that are channels, where they are so few that those of several positions are activated as one; else 0 */
typedef struct {
    int32_t sources, slices, groups, rows, columns, kernel_rows, kind, spans, paired, fetch, block, longest, row_weights, row_scales, expand;
    int32_t out_block, out_row, residual_block, residual_row;
    uint32_t group_rows, bounds, offsets, weights, scales, bias, reach;
    const int32_t *in_first, *in_row;
    int32_t activation, residual_last, few;
    float low, high;
} conv_layer;

/* A group and a slice of entries. weights, scales: of entry number `begun` on; first, last: slice; sums wait in the output between slices. */
typedef struct {
    const conv_layer *layer;
    const float *const *in;
    float *out;
    const float *residual, *bias, *weights, *scales;
    const int32_t *bounds, *offsets, *reach;
    int32_t begun;
    int first, last, fetch; /* fetch: lines of 64 bytes that each entry asks for */
} tile_job;

/* Activates the first FEW lanes of each of `count` vectors, 32 at most. */
#define CONV_FEW(FEW)                                                                                         \
    static inline void conv_few_##FEW(const conv_layer *k, float *out, int count) {                           \
        _Alignas(64) float side[32 * FEW + VL];                                                               \
        store(side + count * FEW / VL * VL, splat(0.0f));                                                     \
        for (int q = 0; q < count; q++) memcpy(side + q * FEW, out + q * VL, sizeof(float[FEW]));             \
        for (int i = 0; i < count * FEW; i += VL) store(side + i, activate(k->activation, load(side + i)));   \
        for (int q = 0; q < count; q++) memcpy(out + q * VL, side + q * FEW, sizeof(float[FEW]));             \
    }
CONV_FEW(2)
CONV_FEW(4)
CONV_FEW(8)
#define CONV_FEW_OF(k, out, count) \
    ((k)->few == 2 ? conv_few_2(k, out, count) : (k)->few == 4 ? conv_few_4(k, out, count) : conv_few_8(k, out, count))

#define CONV_WEIGHT_32(h) load(w + (h) * VL)
#define CONV_WEIGHT_16(h) halved((const int16_t *)w + (h) * VL, splat(j->scales[e]))

/* Entries from .. to - 1 for the rows R0 .. R1 - 1 and the positions Q0 .. Q1 - 1 of the tile. The first group, for which what it reads
   is not in the caches, fetches the next run. */
#define CONV_ENTRIES(H, Q, STEP, BITS, R0, R1, Q0, Q1, from, to)                                              \
    do {                                                                                                      \
        const int32_t end_ = (to);                                                                            \
        int32_t e = (from);                                                                                   \
        const float *w = j->weights + (int64_t)(e - j->begun) * (H * VL * BITS / 32);                         \
        for (; e < end_; e++, w += H * VL * BITS / 32) {                                                      \
            const float *x = in + j->offsets[e];                                                              \
            for (int32_t i = 0; i < j->fetch; i++) __builtin_prefetch(x + Q * STEP + (e * j->fetch + i) % (Q * STEP / 16 + 1) * 16); \
            vf weight[H];                                                                                     \
            for (int h = 0; h < H; h++) {                                                                     \
                weight[h] = CONV_WEIGHT_##BITS(h);                                                            \
                PIN(weight[h]);                                                                               \
            }                                                                                                 \
            UNROLL for (int r = R0; r < R1; r++)                                                              \
                UNROLL for (int q = Q0; q < Q1; q++) {                                                        \
                    vf value = splat(x[r * in_row + q * STEP]);                                               \
                    if (H > 1) PIN(value);                                                                    \
                    for (int h = 0; h < H; h++) sum[r][q][h] += value * weight[h];                            \
                }                                                                                             \
        }                                                                                                     \
    } while (0)

/* One span of a source: kernel rows that only the lower row of the tile reaches, those that both reach, those for the upper one. */
#define CONV_SPAN(R, H, Q, STEP, BITS, Q0, Q1)                                                                \
    do {                                                                                                      \
        if (R == 2) CONV_ENTRIES(H, Q, STEP, BITS, 1, 2, Q0, Q1, bounds[top[1]], bounds[MIN(top[0], below[1])]); \
        CONV_ENTRIES(H, Q, STEP, BITS, 0, R, Q0, Q1, bounds[top[0]], bounds[below[R - 1]]);                   \
        if (R == 2) CONV_ENTRIES(H, Q, STEP, BITS, 0, 1, Q0, Q1, bounds[MAX(top[0], below[1])], bounds[below[0]]); \
    } while (0)

#define CONV_EACH UNROLL for (int r = 0; r < R_; r++) UNROLL for (int q = 0; q < Q_; q++) UNROLL for (int h = 0; h < H_; h++)
#define CONV_REST load(residual + r * k->residual_row + (run * Q_ + q) * VL + (int64_t)h * k->residual_block)

/* `runs` runs of Q positions from column x on, in R rows at once. STEP: floats from one position's input to the next. */
#define CONV_TILE(R, H, Q, STEP, SPANS, BITS)                                                                 \
    static void conv_##R##x##H##x##Q##_##STEP##_##SPANS##_##BITS(const tile_job *j, int32_t y, int32_t rows, int32_t column, int32_t runs) { \
        enum { R_ = R, H_ = H, Q_ = Q };                                                                      \
        const conv_layer *k = j->layer;                                                                       \
        for (const int32_t end = y + rows; y < end; y += R) {                                                 \
            float *out = j->out + (int64_t)y * k->out_row + column * VL;                                      \
            const float *residual = j->residual ? j->residual + (int64_t)y * k->residual_row + column * VL : NULL; \
            int32_t top[R], below[R];                                                                         \
            for (int r = 0; r < R; r++) top[r] = j->reach[2 * (y + r)], below[r] = j->reach[2 * (y + r) + 1]; \
            for (int32_t run = 0; run < runs; run++, out += Q * VL) {                                         \
                vf sum[R][Q][H];                                                                              \
                CONV_EACH sum[r][q][h] = j->first ? load(j->bias + h * VL)                                    \
                                                  : load(out + r * k->out_row + q * VL + (int64_t)h * k->out_block); \
                for (int32_t s = 0; s < k->sources; s++) {                                                    \
                    if (!j->in[s]) continue;                                                                  \
                    const int64_t in_row = k->in_row[s];                                                      \
                    const float *in = j->in[s] + k->in_first[s] + y * in_row + (column + run * Q) * STEP;     \
                    const int32_t *bounds = j->bounds + s * k->kernel_rows * SPANS;                           \
                    if (SPANS == 3) {                                                                         \
                        CONV_SPAN(R, H, Q, STEP, BITS, 1, Q);                                                 \
                        bounds += k->kernel_rows;                                                             \
                    }                                                                                         \
                    CONV_SPAN(R, H, Q, STEP, BITS, 0, Q);                                                     \
                    if (SPANS == 3) {                                                                         \
                        bounds += k->kernel_rows;                                                             \
                        CONV_SPAN(R, H, Q, STEP, BITS, 0, Q - 1);                                             \
                    }                                                                                         \
                }                                                                                             \
                if (j->last) {                                                                                \
                    if (residual && !k->residual_last) CONV_EACH sum[r][q][h] += CONV_REST;                   \
                    if (k->activation && !k->few) CONV_EACH sum[r][q][h] = activate(k->activation, sum[r][q][h]); \
                    CONV_EACH sum[r][q][h] = vmin(splat(k->high), vmax(splat(k->low), sum[r][q][h]));         \
                    if (residual && k->residual_last) CONV_EACH sum[r][q][h] += CONV_REST;                    \
                }                                                                                             \
                CONV_EACH store(out + r * k->out_row + q * VL + (int64_t)h * k->out_block, sum[r][q][h]);     \
                if (H == 1 && k->few && j->last)                                                              \
                    for (int r = 0; r < R; r++) CONV_FEW_OF(k, out + r * k->out_row, Q);                      \
            }                                                                                                 \
        }                                                                                                     \
    }
