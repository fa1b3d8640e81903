/* -- pools ------------------------------------------------------------------------------------------------------------------ */

/* A window over `parts` frames of one form. average: else the maximum. count_pads: padding counts as zeros; depth: frames of the
   window, padded ones included where they count. */
typedef struct {
    form in, out;
    int32_t parts, average, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left, bottom, right, count_pads, depth;
} pool_layer;

/* The kernel places begin .. end - 1 that lie inside an axis of `size`, for a window that starts at `start`. */
typedef struct {
    int32_t begin, end, counted; /* counted: places before the end of the padding */
} span;

static inline span inside(int32_t start, int32_t kernel, int32_t dilation, int32_t size, int32_t padding) {
    const int32_t end = (size - start + dilation - 1) / dilation, last = (size + padding - start + dilation - 1) / dilation;
    span s = {start < 0 ? (-start + dilation - 1) / dilation : 0, MIN(kernel, MAX(end, 0)), MIN(kernel, last)};
    if (s.end < s.begin) s.end = s.begin;
    return s;
}

static void pooling(const job *j, int part, int parts) {
    const pool_layer *k = j->layer;
    const int32_t blocks = (k->out.channels + VL - 1) / VL, lines = blocks * k->out.height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / k->out.height, y = line % k->out.height, y0 = y * k->stride_h - k->top;
        const span rows = inside(y0, k->kernel_h, k->dilation_h, k->in.height, k->bottom);
        const int64_t first = (int64_t)block * k->in.plane + (int64_t)y0 * k->in.row;
        float *out = j->out + (int64_t)block * k->out.plane + (int64_t)y * k->out.row;
        for (int32_t x = 0; x < k->out.width; x++) {
            const int32_t x0 = x * k->stride_w - k->left;
            const span columns = inside(x0, k->kernel_w, k->dilation_w, k->in.width, k->right);
            vf made = splat(k->average ? 0.0f : -INFINITY);
            for (int32_t i = 0; i < k->parts; i++)
                for (int32_t a = rows.begin; a < rows.end; a++) {
                    const int64_t row = first + (int64_t)a * k->dilation_h * k->in.row + (int64_t)x0 * VL;
                    for (int32_t b = columns.begin; b < columns.end; b++) {
                        const vf value = load(j->in[i] + (row + (int64_t)b * k->dilation_w * VL));
                        made = k->average ? made + value : vmax(made, value);
                    }
                }
            if (k->average) {
                const int32_t counted = k->count_pads ? rows.counted * columns.counted
                                                      : (rows.end - rows.begin) * (columns.end - columns.begin);
                made = made / splat((float)(counted * k->depth));
            }
            store(out + x * VL, made);
        }
    }
}
