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
        for (int32_t y = 0; y < k->out.height; y++)
            copy_values(j->out, value_at(&k->out, c, y, 0), k->out.block, j->in[table[2 * c]], value_at(f, table[2 * c + 1], y, 0),
                        f->block, k->out.width, k->out.size);
    }
}
