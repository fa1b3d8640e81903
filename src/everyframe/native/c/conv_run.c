
/* Rows y .. y + rows - 1 of one group and slice, in runs whose lengths differ by at most one. A row is finished before the next is
   begun: what the kernel reads of it again is still in the nearest cache. */
static void conv_rows(const tile_job *j, int32_t height, int32_t y, int32_t rows) {
    const conv_layer *k = j->layer;
    const int32_t widest = MIN(conv_widest[height], k->longest), runs = (k->columns + widest - 1) / widest;
    const int32_t small = k->columns / runs, large = k->columns - small * runs, pairs = k->paired ? rows / 2 : 0;
    if (pairs) conv_tiles[k->kind][1][height][small](j, y, 2 * pairs, 0, 1);
    for (int32_t row = y + 2 * pairs; row < y + rows; row++) {
        if (large) conv_tiles[k->kind][0][height][small + 1](j, row, 1, 0, large);
        conv_tiles[k->kind][0][height][small](j, row, 1, large * (small + 1), runs - large);
    }
}

/* Rows are taken in blocks, so that what a block reads stays in the second-level cache while all groups pass over it. Frames of one call
   share the weights of a slice and group that the first has brought near. Threads share rows where there are many positions, else
   groups; none of it changes the order in which anything is summed. */
static void conv(const job *g, int part, int parts) {
    const conv_layer *k = g->layer;
    const int32_t wanted = g->rows ? g->rows : k->rows;
    const int by_row = wanted >= parts && (wanted * k->columns >= 64 * parts || k->groups < parts);
    const int32_t y0 = g->first + (by_row ? begin(wanted, part, parts) : 0), y1 = g->first + (by_row ? begin(wanted, part + 1, parts) : wanted);
    const int32_t g0 = by_row ? 0 : begin(k->groups, part, parts), g1 = by_row ? k->groups : begin(k->groups, part + 1, parts);
    const int32_t *rows = ints(g->stream, k->group_rows), *bounds = ints(g->stream, k->bounds);
    const int32_t in_slice = k->sources * k->spans * k->kernel_rows, stride = k->slices * in_slice + 1;
    const int32_t high = k->row_weights ? 1 : MAX(1, k->block / k->columns);
#ifdef CONV_HALVED
    _Alignas(64) float wide[CONV_HALVED];
#endif
    for (int32_t y = y0; y < y1; y += high)
        for (int32_t slice = 0; slice < k->slices; slice++)
            for (int32_t group = g0; group < g1; group++) {
                const int32_t *row = rows + 5 * group;
                tile_job j = {
                    .layer = k,
                    .bias = g->stream->weights + k->bias + row[1] * VL,
                    .weights = g->stream->weights + k->weights + (int64_t)y * k->row_weights + row[2],
                    .bounds = bounds + (int64_t)group * stride + slice * in_slice,
                    .offsets = ints(g->stream, k->offsets) + row[3],
                    .reach = ints(g->stream, k->reach),
                    .first = slice == 0,
                    .last = slice == k->slices - 1,
                    .fetch = group == g0 ? k->fetch : 0,
                };
#ifdef CONV_HALVED
                j.scales = g->stream->weights + k->scales + (int64_t)y * k->row_scales + row[4];
                if (k->expand) {
                    j.begun = j.bounds[0];
                    conv_expand(wide, (const int16_t *)j.weights + (int64_t)j.begun * row[0] * VL, j.scales + j.begun,
                                j.bounds[in_slice] - j.begun, row[0]);
                    j.weights = wide;
                }
#endif
                for (int32_t frame = 0; frame <= g->more; frame++) {
                    const float *residual = frame ? g->more_residual[frame - 1] : g->residual;
                    j.in = g->in + frame * k->sources;
                    j.out = (frame ? g->more_out[frame - 1] : g->out) + (int64_t)row[1] * k->out_block;
                    j.residual = residual ? residual + (int64_t)row[1] * k->residual_block : NULL;
                    conv_rows(&j, row[0], y, MIN(high, y1 - y));
                }
            }
}
