
/* Positions first .. first + count - 1 of one group, in tiles whose sizes differ by at most one. */
static void conv_int8_range(const tile_int8 *j, int32_t height, int32_t first, int32_t count) {
    const conv_int8_layer *k = j->layer;
    const int32_t most = MIN(conv_int8_widest[height], k->longest), tiles = (count + most - 1) / most, small = count / tiles, large = count - small * tiles;
    if (large) conv_int8_tiles[height][small + 1](j, first, large);
    conv_int8_tiles[height][small](j, first + large * (small + 1), tiles - large);
}

/* Blocks of positions, so that what a block reads stays in the second-level cache while all groups pass over it. */
static void conv_int8(const job *g, int part, int parts) {
    const conv_int8_layer *k = g->layer;
    const int by_position = k->positions >= 64 * parts || k->groups < parts;
    const int32_t p0 = by_position ? begin(k->positions, part, parts) : 0, p1 = by_position ? begin(k->positions, part + 1, parts) : k->positions;
    const int32_t g0 = by_position ? 0 : begin(k->groups, part, parts), g1 = by_position ? k->groups : begin(k->groups, part + 1, parts);
    const int32_t *rows = ints(g->stream, k->group_rows), *bounds = ints(g->stream, k->bounds);
    const int32_t *last = rows + 4 * (k->groups - 1);
    for (int32_t p = p0; p < p1; p += k->block)
        for (int32_t group = g0; group < g1; group++) {
            const int32_t *row = rows + 4 * group;
            const tile_int8 j = {
                .layer = k,
                .stream = g->stream,
                .in = g->in,
                .out = beyond(g->out, (int64_t)row[1] * k->out_block, k->ending.packed),
                .residual = g->residual ? beyond(g->residual, (int64_t)row[1] * k->residual_block, k->ending.rest_packed) : NULL,
                .scale = g->stream->weights + k->ending.scale + row[1] * VL,
                .bias = g->stream->weights + k->ending.bias + row[1] * VL,
                .sums = ints(g->stream, k->sums) + row[1] * VL,
                .bounds = bounds + (int64_t)group * (2 * k->sources + 1),
                .offsets = ints(g->stream, k->offsets) + row[3],
                .weights = (const int8_t *)(g->stream->weights + k->weights) + row[2],
                .channel = row[1] * VL,
                .channels = (last[0] + last[1]) * VL,
            };
            conv_int8_range(&j, row[0], p, MIN(k->block, p1 - p));
        }
}
