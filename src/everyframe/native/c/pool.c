/* -- pools ------------------------------------------------------------------------------------------------------------------ */

/* A window over `parts` frames of one form. average: else the maximum. count_pads: padding counts as zeros; depth: frames of the
   window, padded ones included where they count. */
typedef struct {
    form in, out;
    int32_t parts, average, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left, bottom, right, count_pads, depth;
} pool_layer;

static void pooling(const job *j, int part, int parts) {
    const pool_layer *k = j->layer;
    const int32_t blocks = (k->out.channels + VL - 1) / VL, lines = blocks * k->out.height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / k->out.height, y = line % k->out.height;
        const int32_t y0 = y * k->stride_h - k->top;
        for (int32_t x = 0; x < k->out.width; x++) {
            const int32_t x0 = x * k->stride_w - k->left;
            vf made = splat(k->average ? 0.0f : -INFINITY);
            int32_t inside = 0, counted = 0;
            for (int32_t a = 0; a < k->kernel_h; a++) {
                const int32_t row = y0 + a * k->dilation_h;
                if (row >= k->in.height + k->bottom) break;
                for (int32_t b = 0; b < k->kernel_w; b++) {
                    const int32_t column = x0 + b * k->dilation_w;
                    if (column >= k->in.width + k->right) break;
                    counted++;
                    if (row < 0 || row >= k->in.height || column < 0 || column >= k->in.width) continue;
                    inside++;
                    const int64_t at = (int64_t)block * k->in.plane + (int64_t)row * k->in.row + (int64_t)column * VL;
                    for (int32_t i = 0; i < k->parts; i++) {
                        const vf value = load(j->in[i] + at);
                        made = k->average ? made + value : vmax(made, value);
                    }
                }
            }
            if (k->average) made = made / splat((float)((k->count_pads ? counted : inside) * k->depth));
            store(j->out + (int64_t)block * k->out.plane + (int64_t)y * k->out.row + (int64_t)x * VL, made);
        }
    }
}
