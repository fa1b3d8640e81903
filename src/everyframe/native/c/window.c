/* out[y][x] = in[y * stride + origin], `value` outside. */
typedef struct {
    form in, out;
    int32_t origin_h, origin_w, stride_h, stride_w;
    float value;
} window_layer;

static void window(const job *j, int part, int parts) {
    const window_layer *k = j->layer;
    for (int32_t c = begin(k->out.channels, part, parts); c < begin(k->out.channels, part + 1, parts); c++)
        for (int32_t y = 0; y < k->out.height; y++)
            for (int32_t x = 0; x < k->out.width; x++) {
                const int32_t row = y * k->stride_h + k->origin_h, column = x * k->stride_w + k->origin_w;
                const int inside = row >= 0 && row < k->in.height && column >= 0 && column < k->in.width;
                const int64_t to = value_at(&k->out, c, y, x);
                if (inside) copy_values(j->out, to, 1, j->in[0], value_at(&k->in, c, row, column), 1, 1, k->out.size);
                else put_value(j->out, to, k->value, k->out.size);
            }
}
