/* (C, H, W) -> (C * H * W). */
typedef struct {
    form in;
} flatten_layer;

static void flatten(const job *j, int part, int parts) {
    const form *f = &((const flatten_layer *)j->layer)->in;
    for (int32_t c = begin(f->channels, part, parts); c < begin(f->channels, part + 1, parts); c++)
        for (int32_t y = 0; y < f->height; y++)
            copy_values(j->out, ((int64_t)c * f->height + y) * f->width, 1, j->in[0], value_at(f, c, y, 0), f->block, f->width, f->size);
}
