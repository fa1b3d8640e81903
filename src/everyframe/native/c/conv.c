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
