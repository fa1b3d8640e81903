
/* Positions first .. first + count - 1 of one group and slice, in tiles whose sizes differ by at most one. */
static void conv_range(const tile_job *j, int32_t height, int32_t first, int32_t count) {
    const int32_t most = conv_widest[height], tiles = (count + most - 1) / most, small = count / tiles, large = count - small * tiles;
    if (large) conv_tiles[height][small + 1](j, first, large);
    conv_tiles[height][small](j, first + large * (small + 1), tiles - large);
}

/* Positions are taken in blocks, so that what a block reads stays in the second-level cache while all groups pass over it. Threads
   share positions where there are many, else groups; neither changes the order in which anything is summed. */
enum { CONV_BLOCK = 196 };

static void conv(const job *g, int part, int parts) {
    const conv_layer *k = g->layer;
    const int by_position = k->positions >= 64 * parts || k->groups < parts;
    const int32_t p0 = by_position ? begin(k->positions, part, parts) : 0, p1 = by_position ? begin(k->positions, part + 1, parts) : k->positions;
    const int32_t g0 = by_position ? 0 : begin(k->groups, part, parts), g1 = by_position ? k->groups : begin(k->groups, part + 1, parts);
    const int32_t *rows = ints(g->stream, k->group_rows), *bounds = ints(g->stream, k->bounds);
    const int32_t stride = k->slices * k->sources + 1;
    for (int32_t p = p0; p < p1; p += CONV_BLOCK)
        for (int32_t slice = 0; slice < k->slices; slice++)
            for (int32_t group = g0; group < g1; group++) {
                const int32_t *row = rows + 4 * group;
                const tile_job j = {
                    .layer = k,
                    .stream = g->stream,
                    .in = g->in,
                    .out = g->out + (int64_t)row[1] * k->out_block,
                    .residual = g->residual ? g->residual + (int64_t)row[1] * k->residual_block : NULL,
                    .bias = g->stream->weights + k->bias + row[1] * VL,
                    .weights = g->stream->weights + k->weights + row[2],
                    .bounds = bounds + (int64_t)group * stride + slice * k->sources,
                    .offsets = ints(g->stream, k->offsets) + row[3],
                    .first = slice == 0,
                    .last = slice == k->slices - 1,
                };
                conv_range(&j, row[0], p, MIN(CONV_BLOCK, p1 - p));
            }
}
