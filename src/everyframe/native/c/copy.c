/* -- copies ----------------------------------------------------------------------------------------------------------------- */

/* How a frame lies: block channels side by side, row and plane in values, size: bytes of one (4: float, 2: half, 1: quantized). */
typedef struct {
    int32_t channels, height, width, block, row, plane, size;
} form;

static inline int64_t value_at(const form *f, int32_t channel, int32_t y, int32_t x) {
    return (int64_t)(channel / f->block) * f->plane + (int64_t)y * f->row + (int64_t)x * f->block + channel % f->block;
}

static inline void put_value(void *out, int64_t to, float value, int32_t size) {
    if (size == 1) ((uint8_t *)out)[to] = (uint8_t)value;
#ifdef EF_HALVES
    else if (size == 2) ((uint16_t *)out)[to] = half_of(value);
#endif
    else ((float *)out)[to] = value;
}

/* `count` values from one frame to another of the same size; step: from value to value. */
static inline void copy_values(void *out, int64_t to, int32_t out_step, const void *in, int64_t from, int32_t in_step, int32_t count,
                               int32_t size) {
    if (size == 1) {
        uint8_t *o = (uint8_t *)out + to;
        const uint8_t *i = (const uint8_t *)in + from;
        for (int64_t x = 0; x < count; x++) o[x * out_step] = i[x * in_step];
    } else {
        float *o = (float *)out + to;
        const float *i = (const float *)in + from;
        for (int64_t x = 0; x < count; x++) o[x * out_step] = i[x * in_step];
    }
}

/* A frame of the caller's, (C, H, W) with `stride` floats from channel to channel, into the arena.
   Bytes are round(value / scale) + zero. */
typedef struct {
    form out;
    int64_t stride;
    float scale, zero;
} import_layer;

static inline int32_t import_byte(const import_layer *k, float value) {
    return (int32_t)(rintf(MIN(255.0f - k->zero, MAX(-k->zero, value / k->scale))) + k->zero);
}

/* All channels of a few positions at a time, which stay in the nearest cache. */
static void import_floats(const job *j, int part, int parts) {
    const import_layer *k = j->layer;
    const form *f = &k->out;
    const int32_t few = f->block == 1 ? 4096 : 64;
    const int32_t whole = f->row == f->width * f->block, rows = whole ? 1 : f->height; /* without borders one row follows another */
    const int32_t width = whole ? f->height * f->width : f->width, runs = (width + few - 1) / few;
    const int32_t work = (f->channels + f->block - 1) / f->block * rows * runs;
    for (int32_t n = begin(work, part, parts); n < begin(work, part + 1, parts); n++) {
        const int32_t x = n % runs * few, y = n / runs % rows, first = n / runs / rows * f->block, count = MIN(few, width - x);
        float *out = j->out + value_at(f, first, y, x);
        for (int32_t channel = first; channel < MIN(first + f->block, f->channels); channel++, out++) {
            const float *in = j->in[0] + channel * k->stride + (int64_t)y * width + x;
            if (f->block == 1) memcpy(out, in, (size_t)count * sizeof(float));
            else
                for (int32_t i = 0; i < count; i++) out[(int64_t)i * f->block] = in[i];
        }
    }
}

static void import(const job *j, int part, int parts) {
    const import_layer *k = j->layer;
    const form *f = &k->out;
    const int32_t together = f->size == 1 && f->block == 4 && f->channels <= 4, lines = (together ? 1 : f->channels) * f->height;
    if (f->size == 4) {
        import_floats(j, part, parts);
        return;
    }
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        if (together) { /* a position's bytes are one word */
            int32_t *words = (int32_t *)j->out + (int64_t)line * f->row / 4, made[64];
            for (int32_t x = 0; x < f->width; x += 64) {
                const int32_t count = MIN(64, f->width - x);
                memset(made, 0, sizeof made);
                for (int32_t channel = 0; channel < f->channels; channel++) {
                    const float *in = j->in[0] + channel * k->stride + (int64_t)line * f->width + x;
                    for (int32_t i = 0; i < count; i++) made[i] |= import_byte(k, in[i]) << (8 * channel);
                }
                memcpy(words + x, made, (size_t)count * 4);
            }
            continue;
        }
        const int32_t channel = line / f->height, y = line % f->height;
        const float *in = j->in[0] + channel * k->stride + (int64_t)y * f->width;
        uint8_t *bytes = (uint8_t *)j->out + value_at(f, channel, y, 0);
        for (int32_t x = 0; x < f->width; x += 64) { /* side by side first: compilers compute that many at once */
            uint8_t line[64];
            const int32_t count = MIN(64, f->width - x);
            for (int32_t i = 0; i < count; i++) line[i] = (uint8_t)import_byte(k, in[x + i]);
            for (int32_t i = 0; i < count; i++) bytes[(int64_t)(x + i) * f->block] = line[i];
        }
    }
}
