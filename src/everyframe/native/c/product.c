/* -- products of two matrices that are there only at run time -------------------------------------------------------------------- */

/* out (M, 1, N) = a (M, 1, K) times b (N, 1, K), both by rows: VL rows of `a` at once meet one value of `b`. */
typedef struct {
    form a, b, out;
} product_layer;

static void product(const job *j, int part, int parts) {
    const product_layer *k = j->layer;
    const int32_t lines = (k->out.channels + VL - 1) / VL * k->out.width;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / k->out.width, n = line % k->out.width;
        const float *a = j->in[0] + (int64_t)block * k->a.plane, *b = j->in[1] + value_at(&k->b, n, 0, 0);
        vf sum = splat(0.0f);
        for (int32_t i = 0; i < k->a.width; i++) sum += load(a + (int64_t)i * VL) * splat(b[(int64_t)i * VL]);
        store(j->out + (int64_t)block * k->out.plane + (int64_t)n * VL, sum);
    }
}
