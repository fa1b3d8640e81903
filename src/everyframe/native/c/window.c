/* out[y][x] = in[y * stride + origin], `value` outside. */
typedef struct {
    form in, out;
    int32_t origin_h, origin_w, stride_h, stride_w;
    float value;
} window_layer;

static void window(const job *j, int part, int parts) {
    const window_layer *k = j->layer;
    const int32_t lines = (k->out.channels + VL - 1) / VL * k->out.height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / k->out.height, y = line % k->out.height, row = y * k->stride_h + k->origin_h;
        for (int32_t x = 0; x < k->out.width; x++) {
            const int32_t column = x * k->stride_w + k->origin_w;
            const int inside = row >= 0 && row < k->in.height && column >= 0 && column < k->in.width;
            const int64_t to = (int64_t)block * k->out.plane + (int64_t)y * k->out.row + x * VL;
            const int64_t from = (int64_t)block * k->in.plane + (int64_t)row * k->in.row + column * VL;
            if (inside) copy_values(j->out, to, 1, j->in[0], from, 1, VL, k->out.size);
            else
                for (int i = 0; i < VL; i++) put_value(j->out, to + i, k->value, k->out.size);
        }
    }
}
