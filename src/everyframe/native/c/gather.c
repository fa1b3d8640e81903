/* Channels of several frames, put together. table: per channel of the output, source and channel there. */
typedef struct {
    form out;
    const form *in; /* of each source */
    uint32_t table;
} gather_layer;

static void gather(const job *j, int part, int parts) {
    const gather_layer *k = j->layer;
    const int32_t *table = ints(j->stream, k->table);
    const int32_t block = k->out.block, lines = (k->out.channels + block - 1) / block * k->out.height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t first = line / k->out.height * block, y = line % k->out.height;
        for (int32_t c = first; c < MIN(first + block, k->out.channels); c++) {
            const form *f = &k->in[table[2 * c]];
            copy_values(j->out, value_at(&k->out, c, y, 0), block, j->in[table[2 * c]], value_at(f, table[2 * c + 1], y, 0),
                        f->block, k->out.width, k->out.size);
        }
    }
}
