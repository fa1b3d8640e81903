/* -- convolution of bytes, the plain way ---------------------------------------------------------------------------------------- */

/* As conv_scalar.c, of integers: the sum of weight * (byte - zero). */
typedef struct {
    int32_t taps, out_channels, in_channels, per_group, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    int32_t out_h, out_w, in_h, in_w;
    uint32_t weights, source, channel;
    ending ending;
} conv_int8_layer;

static void conv_int8(const job *j, int part, int parts) {
    const conv_int8_layer *k = j->layer;
    const ending *e = &k->ending;
    const int depthwise = k->per_group == 1 && k->out_channels == k->in_channels;
    const int32_t *source = ints(j->stream, k->source), *channel = ints(j->stream, k->channel);
    const int per_out = depthwise ? 1 : k->in_channels;
    const int8_t *weights = (const int8_t *)(j->stream->weights + k->weights);
    for (int32_t o = begin(k->out_channels, part, parts); o < begin(k->out_channels, part + 1, parts); o++)
        for (int32_t y = 0; y < k->out_h; y++)
            for (int32_t x = 0; x < k->out_w; x++) {
                int32_t sum = 0;
                for (int32_t t = 0; t < k->taps; t++)
                    for (int32_t n = 0; n < per_out; n++) {
                        const int32_t c = depthwise ? o : n, s = source[t * k->in_channels + c];
                        if (s < 0 || !j->in[s]) continue;
                        const uint8_t *in = (const uint8_t *)j->in[s] + (int64_t)channel[t * k->in_channels + c] * k->in_h * k->in_w;
                        const int8_t *w = weights + (((int64_t)t * k->out_channels + o) * per_out + n) * k->kernel_h * k->kernel_w;
                        for (int32_t i = 0; i < k->kernel_h; i++) {
                            const int32_t row = y * k->stride_h - k->pad_h + i * k->dilation_h;
                            if (row < 0 || row >= k->in_h) continue;
                            for (int32_t l = 0; l < k->kernel_w; l++) {
                                const int32_t column = x * k->stride_w - k->pad_w + l * k->dilation_w;
                                if (column < 0 || column >= k->in_w) continue;
                                sum += w[i * k->kernel_w + l] * (in[(int64_t)row * k->in_w + column] - e->zero);
                            }
                        }
                    }
                const int64_t at = ((int64_t)o * k->out_h + y) * k->out_w + x;
                const float value = (float)sum * j->stream->weights[e->scale + o] + j->stream->weights[e->bias + o];
                const void *rest = j->residual ? beyond(j->residual, at, e->rest_packed) : NULL;
                put(j->stream, e, o, sum, rest, j->out, at, ended(e, value, rest));
            }
}
