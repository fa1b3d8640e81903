/* -- Winograd's transforms in space --------------------------------------------------------------------------------------------- */

/* A frame as tiles of (m + 2) x (m + 2) positions that overlap by 2, transformed: one row for each place of a tile, one column for each
   tile; and back, to m x m positions of the sum. top, left: padding. */
typedef struct {
    form in, out;
    int32_t across, top, left, zero; /* zero: of bytes */
} tile_layer;

typedef struct {
    form in, out, residual;
    int32_t across;
    uint32_t bias;
    int32_t activation, residual_last;
    float low, high;
} untile_layer;

/* One dimension of a tile: from `s` vectors apart to places `t` apart. */
#define TILE_2(d, s, o, t)                              \
    do {                                                \
        o[0] = d[0] - d[2 * s];                         \
        o[t] = d[s] + d[2 * s];                         \
        o[2 * t] = d[2 * s] - d[s];                     \
        o[3 * t] = d[3 * s] - d[s];                     \
    } while (0)
#define UNTILE_2(d, s, o, t)                            \
    do {                                                \
        o[0] = d[0] + d[s] + d[2 * s];                  \
        o[t] = d[s] - d[2 * s] + d[3 * s];              \
    } while (0)
#define TILE_4(d, s, o, t)                                                                          \
    do {                                                                                            \
        const vf a_ = d[4 * s] - splat(4) * d[2 * s], b_ = d[3 * s] - splat(4) * d[s];                \
        const vf c_ = d[4 * s] - d[2 * s], e_ = splat(2) * (d[3 * s] - d[s]);                         \
        o[0] = splat(4) * d[0] - splat(5) * d[2 * s] + d[4 * s];                                    \
        o[t] = a_ + b_;                                                                               \
        o[2 * t] = a_ - b_;                                                                           \
        o[3 * t] = c_ + e_;                                                                           \
        o[4 * t] = c_ - e_;                                                                           \
        o[5 * t] = splat(4) * d[s] - splat(5) * d[3 * s] + d[5 * s];                                \
    } while (0)
#define UNTILE_4(d, s, o, t)                                                                        \
    do {                                                                                            \
        const vf a_ = d[s] + d[2 * s], b_ = d[s] - d[2 * s], c_ = d[3 * s] + d[4 * s], e_ = d[3 * s] - d[4 * s]; \
        o[0] = d[0] + a_ + c_;                                                                        \
        o[t] = b_ + splat(2) * e_;                                                                    \
        o[2 * t] = a_ + splat(4) * c_;                                                                \
        o[3 * t] = b_ + splat(8) * e_ + d[5 * s];                                                     \
    } while (0)

/* Lines are a block of channels and a row of tiles. */
#define WINOGRAD(M)                                                                                 \
    static void tile_##M(const job *j, int part, int parts) {                                       \
        enum { A = M + 2 };                                                                         \
        const tile_layer *k = j->layer;                                                             \
        const int32_t down = k->out.width / k->across, lines = (k->in.channels + VL - 1) / VL * down; \
        for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) { \
            const int32_t block = line / down, ty = line % down, y0 = ty * M - k->top;              \
            const float *in = j->in[0] + (int64_t)block * k->in.plane;                              \
            float *out = j->out + (int64_t)block * k->out.plane + (int64_t)ty * k->across * VL;     \
            for (int32_t tx = 0; tx < k->across; tx++, out += VL) {                                 \
                const int32_t x0 = tx * M - k->left;                                                \
                vf d[A * A], e[A * A];                                                              \
                if (y0 >= 0 && x0 >= 0 && y0 + A <= k->in.height && x0 + A <= k->in.width) {        \
                    const float *at = in + (int64_t)y0 * k->in.row + x0 * VL;                       \
                    UNROLL for (int y = 0; y < A; y++) UNROLL for (int x = 0; x < A; x++) d[y * A + x] = load(at + y * k->in.row + x * VL); \
                } else                                                                              \
                    for (int y = 0; y < A; y++)                                                     \
                        for (int x = 0; x < A; x++) {                                               \
                            const int32_t row = y0 + y, column = x0 + x;                            \
                            const int inside = row >= 0 && row < k->in.height && column >= 0 && column < k->in.width; \
                            d[y * A + x] = inside ? load(in + (int64_t)row * k->in.row + column * VL) : splat(0); \
                        }                                                                           \
                UNROLL for (int x = 0; x < A; x++) TILE_##M((d + x), A, (e + x), A);                \
                UNROLL for (int y = 0; y < A; y++) TILE_##M((e + y * A), 1, (d + y * A), 1);        \
                UNROLL for (int i = 0; i < A * A; i++) store(out + (int64_t)i * k->out.row, d[i]);  \
            }                                                                                       \
        }                                                                                           \
    }                                                                                               \
    static void untile_##M(const job *j, int part, int parts) {                                     \
        enum { A = M + 2 };                                                                         \
        const untile_layer *k = j->layer;                                                           \
        const int32_t down = k->in.width / k->across, lines = (k->out.channels + VL - 1) / VL * down; \
        for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) { \
            const int32_t block = line / down, y0 = line % down * M;                                \
            const float *in = j->in[0] + (int64_t)block * k->in.plane + (int64_t)(line % down) * k->across * VL; \
            const float *rest = j->residual ? j->residual + (int64_t)block * k->residual.plane : NULL; \
            const vf bias = load(j->stream->weights + k->bias + block * VL);                        \
            for (int32_t tx = 0; tx < k->across; tx++, in += VL) {                                  \
                vf d[A * A], e[M * A], o[M * M];                                                    \
                UNROLL for (int i = 0; i < A * A; i++) d[i] = load(in + (int64_t)i * k->in.row);    \
                UNROLL for (int x = 0; x < A; x++) UNTILE_##M((d + x), A, (e + x), A);              \
                UNROLL for (int y = 0; y < M; y++) UNTILE_##M((e + y * A), 1, (o + y * M), 1);      \
                for (int y = 0; y < M && y0 + y < k->out.height; y++)                               \
                    for (int x = 0; x < M && tx * M + x < k->out.width; x++) {                      \
                        vf sum = o[y * M + x] + bias;                                               \
                        const vf more = rest ? load(rest + (int64_t)(y0 + y) * k->residual.row + (tx * M + x) * VL) : splat(0); \
                        if (!k->residual_last) sum += more;                                         \
                        if (k->activation) sum = activate(k->activation, sum);                      \
                        sum = vmin(splat(k->high), vmax(splat(k->low), sum));                       \
                        if (k->residual_last) sum += more;                                          \
                        store(j->out + (int64_t)block * k->out.plane + (int64_t)(y0 + y) * k->out.row + (tx * M + x) * VL, sum); \
                    }                                                                               \
            }                                                                                       \
        }                                                                                           \
    }

