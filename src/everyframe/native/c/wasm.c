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

/* Behind the static data: what the host puts there, then room for floats. */
extern unsigned char __heap_base;

static unsigned char *host_room(size_t bytes) {
    unsigned char *const begin = (unsigned char *)(((uintptr_t)&__heap_base + 63) & ~(uintptr_t)63);
    const size_t page = 65536, have = __builtin_wasm_memory_size(0) * page, need = (uintptr_t)begin + bytes;
    if (need > have && __builtin_wasm_memory_grow(0, (need - have + page - 1) / page) == (size_t)-1) return NULL;
    return begin;
}

/* Where the host puts a picture of w x h pixels, which takes so many bytes; NULL: no memory. */
EXPORT(pixels) unsigned char *host_pixels(int32_t bytes, int32_t w, int32_t h) {
    return host_room((size_t)bytes + 64 + (8 * ((size_t)w + h + EF_WIDTH + EF_HEIGHT) + 4 * EF_WIDTH * EF_HEIGHT) * sizeof(float));
}

/* What is made of a plane: resized to to_w x to_h, of which only these rows and columns. */
typedef struct { int32_t to_w, to_h, top, left, rows, columns; } host_window;

static int32_t host_taps(int32_t to, int32_t from) { return from > to ? (2 * from + to - 1) / to + 1 : 3; }

/* The pixels first .. of `from` that make pixel `at` of `to`: a triangle, which widens where the picture shrinks. Beyond the border
   its outermost pixel goes on, but where swscale, which `predict` resizes with, rounds its first pixel toward zero. shift: by how
   much pixels lie farther left than the middle of what they stand for. Returns how many. */
static int32_t host_span(int32_t at, int32_t to, int32_t from, float shift, int32_t *first, float *weight) {
    const double scale = (double)from / to, reach = scale > 1 ? scale : 1, center = (at + 0.5) * scale + shift;
    const int32_t low = MAX((int32_t)floor(center - reach + 0.5), (int32_t)(center - 0.5 * (host_taps(to, from) - 1)));
    const int32_t high = (int32_t)floor(center + reach + 0.5), begin = MAX(0, low), end = MIN(from, high);
    double sum = 0;
    for (int32_t i = low; i < high; i++) sum += MAX(0, 1 - fabs((i + 0.5 - center) / reach));
    for (int32_t i = begin; i < end; i++) weight[i - begin] = 0;
    for (int32_t i = low; i < high; i++)
        weight[clamp_index(i, from) - begin] += (float)(MAX(0, 1 - fabs((i + 0.5 - center) / reach)) / sum);
    *first = begin;
    return end - begin;
}

/* A plane of w x h pixels of `step` bytes each -> (rows, columns, step). Returns the room behind it. */
static float *host_resize(const unsigned char *in, int32_t step, int32_t w, int32_t h, float shift, host_window to, float *out) {
    const int32_t most = host_taps(to.to_w, w) + 1, wide = w * step;
    float *const end = out + to.rows * to.columns * step, *const across = end, *const weight = across + to.columns * most;
    float *const sums = weight + host_taps(to.to_h, h) + 1;
    int32_t *const firsts = (int32_t *)(sums + wide), *const counts = firsts + to.columns;
    for (int32_t x = 0; x < to.columns; x++)
        counts[x] = host_span(x + to.left, to.to_w, w, shift, firsts + x, across + x * most);
    for (int32_t y = 0; y < to.rows; y++) {
        int32_t first;
        const int32_t n = host_span(y + to.top, to.to_h, h, 0, &first, weight);
        memset(sums, 0, wide * sizeof(float));
        for (int32_t k = 0; k < n; k++) {
            const unsigned char *const line = in + (size_t)(first + k) * wide;
            for (int32_t i = 0; i < wide; i++) sums[i] += weight[k] * line[i];
        }
        for (int32_t x = 0; x < to.columns; x++)
            for (int32_t c = 0; c < step; c++) {
                float sum = 0;
                for (int32_t k = 0; k < counts[x]; k++) sum += across[x * most + k] * sums[(firsts[x] + k) * step + c];
                *out++ = sum;
            }
    }
    return end;
}

static int32_t host_level(float value) { return (int32_t)MAX(0, MIN(255, value + 0.5f)); }

/* The picture of w x h pixels at pixels() becomes frame `slot` of the next step: resized, turned, and cut at (top, left) of
   to_w x to_h. layout: RGBA, I420 (three planes) or NV12 (colors side by side). turn: exchange the axes (1), then mirror up-down (2)
   and left-right (4). red, blue: their share of brightness; full: whether it takes all 256 levels; shift: of colors, see host_span. */
EXPORT(prepare) void host_prepare(int32_t w, int32_t h, int32_t to_w, int32_t to_h, int32_t top, int32_t left, int32_t slot,
                                  int32_t turn, int32_t layout, float red, float blue, int32_t full, float shift) {
    enum { RGBA, I420, NV12 };
    static const float mean[] = EF_MEAN, std[] = EF_STD;
    const unsigned char *const in = host_room(0);
    const int32_t half_w = (w + 1) / 2, half_h = (h + 1) / 2, half = half_w * half_h;
    const size_t bytes = layout == RGBA ? (size_t)w * h * 4 : (size_t)w * h + 2 * half;
    const int32_t y0 = turn & 2 ? to_h - top - EF_HEIGHT : top, x0 = turn & 4 ? to_w - left - EF_WIDTH : left;
    const host_window as = turn & 1 ? (host_window){to_h, to_w, x0, y0, EF_WIDTH, EF_HEIGHT}
                                    : (host_window){to_w, to_h, y0, x0, EF_HEIGHT, EF_WIDTH};
    float *const luma = (float *)(in + (bytes + 63) / 64 * 64);
    float *const chroma = host_resize(in, layout == RGBA ? 4 : 1, w, h, 0, as, luma), *second = chroma;
    if (layout == I420) {
        second = host_resize(in + (size_t)w * h, 1, half_w, half_h, shift, as, chroma);
        host_resize(in + (size_t)w * h + half, 1, half_w, half_h, shift, as, second);
    } else if (layout == NV12) {
        host_resize(in + (size_t)w * h, 2, half_w, half_h, shift, as, chroma);
    }
    const float spread = full ? 1 : 255.0f / 219, colors = full ? 1 : 255.0f / 224;
    float *const frame = host_frames_kept + (size_t)slot * EF_CHANNELS * EF_HEIGHT * EF_WIDTH;
    for (int32_t y = 0; y < EF_HEIGHT; y++)
        for (int32_t x = 0; x < EF_WIDTH; x++) {
            const int32_t down = turn & 2 ? EF_HEIGHT - 1 - y : y, along = turn & 4 ? EF_WIDTH - 1 - x : x;
            const int32_t at = turn & 1 ? along * EF_HEIGHT + down : down * EF_WIDTH + along;
            float rgb[3];
            if (layout == RGBA) {
                for (int c = 0; c < 3; c++) rgb[c] = luma[4 * at + c];
            } else {
                const float u = layout == I420 ? chroma[at] : chroma[2 * at], v = layout == I420 ? second[at] : chroma[2 * at + 1];
                const float light = spread * (luma[at] - (full ? 0 : 16));
                rgb[0] = light + 2 * (1 - red) * colors * (v - 128);
                rgb[2] = light + 2 * (1 - blue) * colors * (u - 128);
                rgb[1] = (light - red * rgb[0] - blue * rgb[2]) / (1 - red - blue);
            }
            int32_t level[3];
            for (int c = 0; c < 3; c++) level[EF_BGR ? 2 - c : c] = host_level(rgb[c]);
            if (EF_CHANNELS == 1) level[0] = (level[0] * 19595 + level[1] * 38470 + level[2] * 7471 + 32768) >> 16;
            for (int c = 0; c < EF_CHANNELS; c++)
                frame[((size_t)c * EF_HEIGHT + y) * EF_WIDTH + x] = (level[c] * EF_SCALE - mean[c]) / std[c];
        }
}
#endif
