/* -- states --------------------------------------------------------------------------------------------------------------------- */

/* Frames that outlive a step live in pools of buffers. After a step every state points to what it holds now; buffers that nobody
   points to are free for the next step. Nothing is copied. Fills (what was before the first frame) lie outside the pools. */
static void keep(ef_stream *s, const float *const *next) {
    unsigned char taken[EF_BUFFERS + 1] = {0};
    for (int i = 0; i < EF_SLOTS; i++) {
        const int64_t pool = slot_buffers[i], at = next[i] - s->arena;
        s->slot[i] = (float *)next[i];
        if (at >= 0 && at < EF_STATE_FLOATS) taken[buffers_first[pool] + (at - buffers_start[pool]) / buffers_floats[pool]] = 1;
    }
    for (int i = 0; i < EF_FRESH; i++) {
        const int64_t pool = fresh_buffers[i];
        int64_t n = 0;
        while (taken[buffers_first[pool] + n]) n++;
        taken[buffers_first[pool] + n] = 1;
        s->fresh[i] = s->arena + buffers_start[pool] + n * buffers_floats[pool];
    }
}

static void fill(float *out, const form *f, float value) {
    for (int32_t c = 0; c < f->channels; c++)
        for (int32_t y = 0; y < f->height; y++)
            for (int32_t x = 0; x < f->width; x++) put_value(out, value_at(f, c, y, x), value, f->size);
}
