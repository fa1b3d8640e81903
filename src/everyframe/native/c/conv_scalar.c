/* -- convolution, the plain way ------------------------------------------------------------------------------------------- */

/* out[o][y][x] = bias[o] + sum over taps t, channels c, kernel (i, j) of weights[t][o][c][i][j] * in[source[t][c]][channel[t][c]][...],
   sums in double. Frames are (C, H, W) without borders. A source -1 or a null frame is padding. */
typedef struct {
    int32_t taps, out_channels, in_channels, per_group, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    int32_t out_h, out_w, in_h, in_w;
    uint32_t weights, bias, source, channel;
    int32_t activation, residual_last;
    float low, high;
} conv_layer;

static void conv(const job *j, int part, int parts) {
    const conv_layer *k = j->layer;
    const int depthwise = k->per_group == 1 && k->out_channels == k->in_channels;
    const int32_t *source = ints(j->stream, k->source), *channel = ints(j->stream, k->channel);
    const int per_out = depthwise ? 1 : k->in_channels;
    for (int32_t o = begin(k->out_channels, part, parts); o < begin(k->out_channels, part + 1, parts); o++)
        for (int32_t y = 0; y < k->out_h; y++)
            for (int32_t x = 0; x < k->out_w; x++) {
                double sum = j->stream->weights[k->bias + o];
                for (int32_t t = 0; t < k->taps; t++)
                    for (int32_t n = 0; n < per_out; n++) {
                        const int32_t c = depthwise ? o : n, s = source[t * k->in_channels + c];
                        if (s < 0 || !j->in[s]) continue;
                        const float *in = j->in[s] + (int64_t)channel[t * k->in_channels + c] * k->in_h * k->in_w;
                        const float *w = j->stream->weights + k->weights +
                                         (((int64_t)t * k->out_channels + o) * per_out + n) * k->kernel_h * k->kernel_w;
                        for (int32_t i = 0; i < k->kernel_h; i++) {
                            const int32_t row = y * k->stride_h - k->pad_h + i * k->dilation_h;
                            if (row < 0 || row >= k->in_h) continue;
                            for (int32_t l = 0; l < k->kernel_w; l++) {
                                const int32_t column = x * k->stride_w - k->pad_w + l * k->dilation_w;
                                if (column < 0 || column >= k->in_w) continue;
                                sum += (double)w[i * k->kernel_w + l] * in[(int64_t)row * k->in_w + column];
                            }
                        }
                    }
                const int64_t at = ((int64_t)o * k->out_h + y) * k->out_w + x;
                float value = (float)sum;
                if (j->residual && !k->residual_last) value += j->residual[at];
                value = activate(k->activation, value);
                value = vmin(k->high, vmax(k->low, value));
                if (j->residual && k->residual_last) value += j->residual[at];
                j->out[at] = value;
            }
}
