/* A step network as one WebAssembly module that imports nothing: the generated C (MODEL), and pictures of any size made into its
   frames. The host writes the weights at weights(), pixels at pixels(w, h, …) or floats at frames(), and calls step(). */

#define EF_NO_THREADS
#define EF_STATIC_ARENA
#include MODEL

/* All names of this file begin with host_: the generated code has any others. */
#define EXPORT(name) __attribute__((export_name(#name)))

#ifdef WASM_EMBED
static _Alignas(64) unsigned char host_weights_kept[] = {
#embed WASM_EMBED
};
#else
static _Alignas(64) unsigned char host_weights_kept[EF_WEIGHT_BYTES];
#endif
static _Alignas(64) float host_frames_kept[EF_FRAMES * EF_CHANNELS * EF_HEIGHT * EF_WIDTH];
static _Alignas(64) float host_logits_kept[EF_ANSWER_FLOATS];
static ef_stream *host_stream;

EXPORT(weights) void *host_weights(void) { return host_weights_kept; }
EXPORT(weight_bytes) int32_t host_weight_bytes(void) { return sizeof host_weights_kept; }
EXPORT(frames) float *host_frames(void) { return host_frames_kept; }
EXPORT(frame_floats) int32_t host_frame_floats(void) { return EF_CHANNELS * EF_HEIGHT * EF_WIDTH; }
EXPORT(frames_a_step) int32_t host_frames_a_step(void) { return EF_FRAMES; }
EXPORT(logits) float *host_logits(void) { return host_logits_kept; }
EXPORT(classes) int32_t host_classes(void) { return EF_CLASSES; }
/* The logits, and behind them the values of other outputs. */
EXPORT(answers) int32_t host_answers(void) { return EF_ANSWER_FLOATS; }
/* After the weights are there. The answers are those of ef_init, ef_step and ef_reset: 0, or what went wrong. */
EXPORT(start) int32_t host_start(int32_t bytes) { return ef_init(NULL, 0, host_weights_kept, (size_t)bytes, 1, &host_stream); }
EXPORT(step) int32_t host_step(void) { return ef_step(host_stream, host_frames_kept, host_logits_kept); }
EXPORT(reset) int32_t host_reset(void) { return ef_reset(host_stream); }

#ifdef EF_SCALE
/* -- pictures ------------------------------------------------------------------------------------------------------------------- */

/* Behind the static data: pixels (h, w, 4), then rows that are already narrow (h, to_w, 4), then the weights of one span. */
extern unsigned char __heap_base;

static unsigned char *host_room(size_t bytes) {
    unsigned char *const begin = (unsigned char *)(((uintptr_t)&__heap_base + 63) & ~(uintptr_t)63);
    const size_t page = 65536, have = __builtin_wasm_memory_size(0) * page, need = (uintptr_t)begin + bytes;
    if (need > have && __builtin_wasm_memory_grow(0, (need - have + page - 1) / page) == (size_t)-1) return NULL;
    return begin;
}

/* Where the host puts a picture of w x h pixels (RGBA, no gaps) that will be resized to to_w columns; NULL: no memory. */
EXPORT(pixels) unsigned char *host_pixels(int32_t w, int32_t h, int32_t to_w) {
    return host_room((size_t)w * h * 4 + ((size_t)to_w * h * 4 + w + h + 8) * sizeof(float));
}

/* The pixels first .. of `from` that make pixel `at` of `to`: a triangle, which widens where the picture shrinks. Beyond the border
   its outermost pixel goes on, but where swscale, which `predict` resizes with, rounds its first pixel toward zero. Returns how many. */
static int32_t host_span(int32_t at, int32_t to, int32_t from, int32_t *first, float *weight) {
    const double scale = (double)from / to, reach = scale > 1 ? scale : 1, center = (at + 0.5) * scale;
    const int32_t taps = scale > 1 ? (2 * from + to - 1) / to + 1 : 3;
    const int32_t low = MAX((int32_t)floor(center - reach + 0.5), (int32_t)(center - 0.5 * (taps - 1)));
    const int32_t high = (int32_t)floor(center + reach + 0.5);
    const int32_t begin = MAX(0, low), end = MIN(from, high);
    double sum = 0;
    for (int32_t i = low; i < high; i++) sum += MAX(0, 1 - fabs((i + 0.5 - center) / reach));
    for (int32_t i = begin; i < end; i++) weight[i - begin] = 0;
    for (int32_t i = low; i < high; i++)
        weight[clamp_index(i, from) - begin] += (float)(MAX(0, 1 - fabs((i + 0.5 - center) / reach)) / sum);
    *first = begin;
    return end - begin;
}

/* The picture of w x h pixels, resized to to_w x to_h and cut at (top, left), becomes frame `slot` of the next step. */
EXPORT(prepare) void host_prepare(int32_t w, int32_t h, int32_t to_w, int32_t to_h, int32_t top, int32_t left, int32_t slot) {
    static const float mean[] = EF_MEAN, std[] = EF_STD;
    unsigned char *const pixels = host_room(0);
    /* red, green, blue and alpha side by side; whole vectors */
    vf *const narrow = (vf *)(pixels + ((size_t)w * h * 4 + 15) / 16 * 16);
    float *const weight = (float *)(narrow + (size_t)to_w * h);
    float *const frame = host_frames_kept + (size_t)slot * EF_CHANNELS * EF_HEIGHT * EF_WIDTH;
    for (int32_t x = left; x < left + EF_WIDTH; x++) {
        int32_t first;
        const int32_t n = host_span(x, to_w, w, &first, weight);
        for (int32_t y = 0; y < h; y++) {
            const unsigned char *in = pixels + 4 * ((size_t)y * w + first);
            vf sum = splat(0);
            for (int32_t i = 0; i < n; i++) {
                const v128_t bytes = wasm_v128_load32_zero(in + 4 * i);
                const v128_t wide = wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(bytes));
                sum += splat(weight[i]) * (vf)wasm_f32x4_convert_i32x4(wide);
            }
            narrow[(size_t)y * to_w + x] = sum;
        }
    }
    for (int32_t y = 0; y < EF_HEIGHT; y++) {
        int32_t first;
        const int32_t n = host_span(y + top, to_h, h, &first, weight);
        for (int32_t x = 0; x < EF_WIDTH; x++) {
            vf rgb = splat(0.5f);
            for (int32_t i = 0; i < n; i++) rgb += splat(weight[i]) * narrow[(size_t)(first + i) * to_w + x + left];
            int32_t level[3];
            for (int c = 0; c < 3; c++) level[EF_BGR ? 2 - c : c] = MIN(255, (int32_t)rgb[c]);
            if (EF_CHANNELS == 1) level[0] = (level[0] * 19595 + level[1] * 38470 + level[2] * 7471 + 32768) >> 16;
            for (int c = 0; c < EF_CHANNELS; c++)
                frame[((size_t)c * EF_HEIGHT + y) * EF_WIDTH + x] = (level[c] * EF_SCALE - mean[c]) / std[c];
        }
    }
}
#endif
