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

/* Channels of several frames, put together. table: per channel of the output, source and channel there. */
typedef struct {
    form out;
    const form *in; /* of each source */
    uint32_t table;
} gather_layer;

static void gather(const job *j, int part, int parts) {
    const gather_layer *k = j->layer;
    const int32_t *table = ints(j->stream, k->table);
    for (int32_t c = begin(k->out.channels, part, parts); c < begin(k->out.channels, part + 1, parts); c++) {
        const form *f = &k->in[table[2 * c]];
        const float *in = j->in[table[2 * c]];
        for (int32_t y = 0; y < k->out.height; y++) {
            float *out = j->out + value_at(&k->out, c, y, 0);
            const float *row = in + value_at(f, table[2 * c + 1], y, 0);
            for (int32_t x = 0; x < k->out.width; x++) out[(int64_t)x * k->out.block] = row[(int64_t)x * f->block];
        }
    }
}

/* (C, H, W) -> (C * H * W). */
typedef struct {
    form in;
} flatten_layer;

static void flatten(const job *j, int part, int parts) {
    const form *f = &((const flatten_layer *)j->layer)->in;
    for (int32_t c = begin(f->channels, part, parts); c < begin(f->channels, part + 1, parts); c++)
        for (int32_t y = 0; y < f->height; y++)
            for (int32_t x = 0; x < f->width; x++)
                j->out[((int64_t)c * f->height + y) * f->width + x] = j->in[0][value_at(f, c, y, x)];
}

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
                j->out[value_at(&k->out, c, y, x)] = inside ? j->in[0][value_at(&k->in, c, row, column)] : k->value;
            }
}
