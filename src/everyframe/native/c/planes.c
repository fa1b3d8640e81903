/* -- convolution of planes ---------------------------------------------------------------------------------------------------- */

/* Few output channels, a vector of positions each: O channels x Q vectors of sums stay in registers while the entries go by. An entry
   is an offset into a source frame and a weight for each channel: what lies there side by side is multiplied with them. The last
   positions of a row are computed as a whole tile too, which begins where that ends with the row.

   bounds   per source its first entry, and one more at the end
   in_row   per source, from one row to the next */
typedef struct {
    int32_t sources, rows, columns, out_plane, out_row, residual_plane, residual_row;
    uint32_t bounds, offsets, weights, bias;
    const int32_t *in_row;
    int32_t activation, residual_last;
    float low, high;
} planes_layer;

#define PLANES_EACH UNROLL for (int o = 0; o < O_; o++) UNROLL for (int q = 0; q < Q_; q++)
#define PLANES_REST load_at(residual + (int64_t)o * k->residual_plane + x + q * VL)

#define PLANES(O, Q)                                                                                          \
    static void planes_##O##x##Q(const job *g, int part, int parts) {                                         \
        enum { O_ = O, Q_ = Q };                                                                              \
        const planes_layer *k = g->layer;                                                                     \
        const int32_t *bounds = ints(g->stream, k->bounds), *offsets = ints(g->stream, k->offsets);           \
        const float *weights = g->stream->weights + k->weights, *bias = g->stream->weights + k->bias;         \
        const int32_t lines = (g->more + 1) * k->rows, last = k->columns - Q * VL;                            \
        for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {        \
            const int32_t frame = line / k->rows, y = line % k->rows;                                         \
            const float *const *in = g->in + frame * k->sources;                                              \
            const float *residual = frame ? g->more_residual[frame - 1] : g->residual;                        \
            float *out = (frame ? g->more_out[frame - 1] : g->out) + (int64_t)y * k->out_row;                 \
            if (residual) residual += (int64_t)y * k->residual_row;                                           \
            for (int32_t x = 0, next;; x = next) {                                                            \
                next = MIN(x + Q * VL, last);                                                                 \
                vf sum[O][Q];                                                                                 \
                PLANES_EACH sum[o][q] = splat(bias[o]);                                                       \
                for (int32_t s = 0; s < k->sources; s++) {                                                    \
                    if (!in[s]) continue;                                                                     \
                    const float *from = in[s] + (int64_t)y * k->in_row[s] + x, *w = weights + bounds[s] * O;  \
                    for (int32_t e = bounds[s]; e < bounds[s + 1]; e++, w += O) {                             \
                        vf value[Q];                                                                          \
                        UNROLL for (int q = 0; q < Q_; q++) value[q] = load_at(from + offsets[e] + q * VL);  \
                        UNROLL for (int o = 0; o < O_; o++) {                                                 \
                            const vf weight = splat(w[o]);                                                    \
                            UNROLL for (int q = 0; q < Q_; q++) sum[o][q] += value[q] * weight;               \
                        }                                                                                     \
                    }                                                                                         \
                }                                                                                             \
                if (residual && !k->residual_last) PLANES_EACH sum[o][q] += PLANES_REST;                      \
                if (k->activation) PLANES_EACH sum[o][q] = activate(k->activation, sum[o][q]);                \
                PLANES_EACH sum[o][q] = vmin(splat(k->high), vmax(splat(k->low), sum[o][q]));                 \
                if (residual && k->residual_last) PLANES_EACH sum[o][q] += PLANES_REST;                       \
                PLANES_EACH store_at(out + (int64_t)o * k->out_plane + x + q * VL, sum[o][q]);                \
                if (x == last) break;                                                                         \
            }                                                                                                 \
        }                                                                                                     \
    }
