/* Threads share rows of blocks; a row is cut into tiles whose lengths differ by at most one. */
static void depthwise(const job *j, int part, int parts) {
    const depthwise_layer *k = j->layer;
    const int32_t *offsets = ints(j->stream, k->offsets), *strides = ints(j->stream, k->strides);
    const int32_t rows = j->rows ? j->rows : k->rows, lines = k->blocks * rows, tiles = (k->columns + DEPTHWISE_LONGEST - 1) / DEPTHWISE_LONGEST, small = k->columns / tiles, large = k->columns - small * tiles;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t block = line / rows, y = j->first + line % rows;
        const float *x[EF_MAX_SOURCES];
        for (int32_t s = 0; s < k->sources; s++)
            x[s] = j->in[s] ? j->in[s] + (int64_t)block * strides[2 * s] + (int64_t)y * strides[2 * s + 1] : NULL;
        const float *w = j->stream->weights + k->weights + (int64_t)block * k->sources * k->taps * VL;
        const vf bias = load(j->stream->weights + k->bias + block * VL);
        float *out = j->out + (int64_t)block * k->out_block + (int64_t)y * k->out_row;
        const float *residual = j->residual ? j->residual + (int64_t)block * k->residual_block + (int64_t)y * k->residual_row : NULL;
        if (large) depthwise_tiles[k->square][small + 1](k, offsets, x, w, bias, out, residual, 0, large);
        depthwise_tiles[k->square][small](k, offsets, x, w, bias, out, residual, large * (small + 1), tiles - large);
    }
}
