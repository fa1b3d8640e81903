/* -- copies ----------------------------------------------------------------------------------------------------------------- */

/* How a frame lies: block channels side by side, row and plane in floats. */
typedef struct {
    int32_t channels, height, width, block, row, plane;
} form;

static inline int64_t value_at(const form *f, int32_t channel, int32_t y, int32_t x) {
    return (int64_t)(channel / f->block) * f->plane + (int64_t)y * f->row + (int64_t)x * f->block + channel % f->block;
}

/* A frame of the caller's, (C, H, W) with `stride` floats from channel to channel, into the arena. */
typedef struct {
    form out;
    int64_t stride;
} import_layer;

static void import(const job *j, int part, int parts) {
    const import_layer *k = j->layer;
    const form *f = &k->out;
    const int32_t lines = f->channels * f->height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t channel = line / f->height, y = line % f->height;
        const float *in = j->in[0] + channel * k->stride + (int64_t)y * f->width;
        float *out = j->out + value_at(f, channel, y, 0);
        if (f->block == 1) memcpy(out, in, (size_t)f->width * sizeof(float));
        else
            for (int32_t x = 0; x < f->width; x++) out[(int64_t)x * f->block] = in[x];
    }
}
