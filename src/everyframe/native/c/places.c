/* -- values whose places are known only at run time ------------------------------------------------------------------------------ */

/* A whole number that is held as a float, or -1 for what is none or lies outside. */
static inline int32_t place_of(float x, int32_t count) { return x >= 0.0f && x < (float)count ? (int32_t)x : -1; }

/* out = in[index], 0 where that lies outside; `in` is one row of channels. */
typedef struct {
    form in, index, out;
} pick_layer;

static void pick_at(const job *j, int part, int parts) {
    const pick_layer *k = j->layer;
    const int32_t lines = k->out.channels * k->out.height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t c = line / k->out.height, y = line % k->out.height;
        for (int32_t x = 0; x < k->out.width; x++) {
            const int32_t i = place_of(j->in[1][value_at(&k->index, c, y, x)], k->in.channels);
            j->out[value_at(&k->out, c, y, x)] = i < 0 ? 0.0f : j->in[0][value_at(&k->in, i, 0, 0)];
        }
    }
}

/* out = base, and then out[index] = what `kind` makes of it and the values, one after another. */
enum { PUT_SET, PUT_ADD, PUT_MUL, PUT_MAX, PUT_MIN };
typedef struct {
    form base, index, values, out;
    int32_t kind;
} put_layer;

static inline float put_together(int32_t kind, float old, float new) {
    switch (kind) {
    case PUT_ADD: return old + new;
    case PUT_MUL: return old * new;
    case PUT_MAX: return old > new ? old : new;
    case PUT_MIN: return old < new ? old : new;
    default: return new;
    }
}

static void put_at(const job *j, int part, int parts) {
    const put_layer *k = j->layer;
    if (part || parts < 1) return;
    for (int32_t i = 0; i < k->out.channels; i++)
        j->out[value_at(&k->out, i, 0, 0)] = j->in[0][value_at(&k->base, i, 0, 0)];
    for (int32_t i = 0; i < k->index.channels; i++) {
        const int32_t at = place_of(j->in[1][value_at(&k->index, i, 0, 0)], k->out.channels);
        if (at < 0) continue;
        float *to = j->out + value_at(&k->out, at, 0, 0);
        *to = put_together(k->kind, *to, j->in[2][value_at(&k->values, i, 0, 0)]);
    }
}

/* The same of all channels of a position at a time; of positions that several values go to, all threads see the same order. in: index,
   values, and base, if it is `based`; `value` stands everywhere before, if not. */
typedef struct {
    form index, values, base, out;
    int32_t kind, based;
    float value;
} put_rows_layer;

static void put_rows(const job *j, int part, int parts) {
    const put_rows_layer *k = j->layer;
    const form *o = &k->out, *v = &k->values, *b = &k->base;
    const int32_t blocks = (o->channels + o->block - 1) / o->block, first = begin(o->height, part, parts),
                  end = begin(o->height, part + 1, parts), lowest = first * o->width, highest = end * o->width;
    for (int32_t block = 0; block < blocks; block++)
        for (int32_t y = first; y < end; y++) {
            float *to = j->out + (int64_t)block * o->plane + (int64_t)y * o->row;
            if (k->based)
                for (int32_t x = 0; x < o->width; x++) {
                    const int32_t at = y * o->width + x;
                    const float *from = j->in[2] + (int64_t)block * b->plane + (int64_t)(at / b->width) * b->row;
                    memcpy(to + (int64_t)x * o->block, from + (int64_t)(at % b->width) * o->block, (size_t)o->block * sizeof(float));
                }
            else if (k->value == 0.0f) memset(to, 0, (size_t)o->width * o->block * sizeof(float));
            else
                for (int32_t x = 0; x < o->width * o->block; x++) to[x] = k->value;
        }
    for (int32_t i = 0; i < k->index.channels; i++) {
        const int32_t at = place_of(j->in[0][value_at(&k->index, i, 0, 0)], highest);
        if (at < lowest) continue;
        float *to = j->out + (int64_t)(at / o->width) * o->row + (int64_t)(at % o->width) * o->block;
        const float *from = j->in[1] + (int64_t)(i / v->width) * v->row + (int64_t)(i % v->width) * o->block;
        for (int32_t block = 0; block < blocks; block++, to += o->plane, from += v->plane)
            for (int32_t c = 0; c < o->block; c++) to[c] = put_together(k->kind, to[c], from[c]);
    }
}

/* Places of the largest (or smallest) values of each row, in order; the first one of equals comes first. */
typedef struct {
    form in, out;
    int32_t largest;
} rank_layer;

static void rank_rows(const job *j, int part, int parts) {
    const rank_layer *k = j->layer;
    for (int32_t c = begin(k->in.channels, part, parts); c < begin(k->in.channels, part + 1, parts); c++) {
        const float sign = k->largest ? 1.0f : -1.0f, *row = j->in[0] + value_at(&k->in, c, 0, 0);
        int32_t last = -1;
        for (int32_t n = 0; n < k->out.width; n++) {
            const float bound = last < 0 ? INFINITY : sign * row[(int64_t)last * k->in.block];
            int32_t best = -1;
            for (int32_t x = 0; x < k->in.width; x++) { /* those that come behind the last one */
                const float value = sign * row[(int64_t)x * k->in.block];
                const int behind = last < 0 || value < bound || (value == bound && x > last);
                if (behind && (best < 0 || value > sign * row[(int64_t)best * k->in.block])) best = x;
            }
            last = best < 0 ? MIN(n, k->in.width - 1) : best; /* what is no number has no place */
            j->out[value_at(&k->out, c, 0, n)] = (float)last;
        }
    }
}
