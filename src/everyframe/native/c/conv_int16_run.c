
/* Threads share rows. Frames of one call share the weights of a row and group, as in `conv`. */
static void conv_int16(const job *g, int part, int parts) {
    const conv_int16_layer *k = g->layer;
    const int32_t *rows = ints(g->stream, k->group_rows), *bounds = ints(g->stream, k->bounds);
    for (int32_t y = begin(k->rows, part, parts); y < begin(k->rows, part + 1, parts); y++)
        for (int32_t group = 0; group < k->groups; group++) {
            const int32_t *row = rows + 4 * group, height = row[0];
            tile_int16 j = {
                .layer = k,
                .bounds = bounds + (int64_t)group * (k->sources + 1),
                .offsets = ints(g->stream, k->offsets) + row[3],
                .weights = (const int8_t *)(g->stream->weights + k->weights) + (int64_t)y * k->row_weights + row[2],
                .row = y,
            };
            const int32_t most = MIN(conv_int16_widest[height], k->longest), tiles = (k->columns + most - 1) / most;
            const int32_t small = k->columns / tiles, large = k->columns - small * tiles;
            for (int32_t frame = 0; frame <= g->more; frame++) {
                j.in = g->in + frame * k->sources;
                j.out = (int32_t *)(frame ? g->more_out[frame - 1] : g->out) + (int64_t)row[1] * k->out_block + (int64_t)y * k->out_row;
                if (large) conv_int16_tiles[height][small + 1](&j, 0, large);
                conv_int16_tiles[height][small](&j, large * (small + 1), tiles - large);
            }
        }
}
