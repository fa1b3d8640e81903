/* -- measuring ------------------------------------------------------------------------------------------------------------------ */

/* Every convolution of a network with every choice that is worth trying, in turns: values are small integers and weights are 1, so
   that all choices must give the same bits. What is best, with a margin, becomes a line of JSON for `everyframe compile --table`.

   cc ... tune.c -o tune -lm && ./tune [SECONDS [RESULT [TABLES]]]       default: 60 tune.jsonl tune.tables; RESULT - prints */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef __clang__
#define TUNE_COMPILER "clang " __clang_version__
#else
#define TUNE_COMPILER "gcc " __VERSION__
#endif

typedef struct {
    const char *choice; /* as JSON */
    const void *layer;
    int parent; /* not tried where that one is hopeless; its own number if none */
    int inexact; /* does it round more than the convolution itself? */
    kernel tile, untile, product; /* of Winograd: before, after and between, else NULL; the sums between */
    const tile_layer *into;
    const void *back;
    const form *sums;
    const float *rows; /* of floats: what each row's weights are, how many and how many rows */
    int32_t row_weights, row_count;
    int64_t weights; /* where they are put */
} candidate;

/* inputs: words of the largest frame that is read; frames: calls in a step; work: multiply-adds in a step, which share the time. */
typedef struct {
    const char *key; /* JSON of what the choice is for */
    kernel run;
    const candidate *candidates;
    int count, frames, sources, int8, zero; /* zero: the byte of borders */
    const form *forms;
    const int32_t *origins;
    int64_t inputs, out, out_origin, rest, rest_origin;
    double work;
} tune_case;

@CASES@

enum { MOST_ROUNDS = 15, LEAST_ROUNDS = 5, MOST_FRAMES = 4 };
/* what wins and what is not measured again, relative to the default and to the best; how long a try should and must take */
static const double MARGIN = 0.97, HOPELESS = 1.1, ENOUGH_S = 4e-3, LEAST_S = 3e-4;

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t bytes) {
    void *made = aligned_alloc(64, (bytes + 1087) / 64 * 64); /* kernels of bytes read a little further */
    if (!made) {
        fprintf(stderr, "tune: out of memory\n");
        exit(1);
    }
    memset(made, 0, (bytes + 1087) / 64 * 64);
    return made;
}

static uint32_t random_state = 12345;

static uint32_t noise(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 24;
}

/* A frame with zeros around it, or bytes that are anything. */
static void numbers(float *to, int64_t words, const form *f, int64_t origin, int zero) {
    memset(to, zero, (size_t)words * 4);
    if (!f)
        for (int64_t i = 0; i < 4 * words; i++) ((uint8_t *)to)[i] = (uint8_t)noise();
    else
        for (int32_t c = 0; c < f->channels; c++)
            for (int32_t y = 0; y < f->height; y++)
                for (int32_t x = 0; x < f->width; x++) {
                    const int64_t at = value_at(f, c, y, x);
                    if (f->size == 1) ((uint8_t *)(to + origin))[at] = (uint8_t)noise();
                    else to[origin + at] = (float)((int32_t)(noise() >> 5) - 3);
                }
}

/* What a processor and its caches are called, as native/processor.py does. */
static void word_of(const char *path, const char *name, char *out, size_t size) {
    char line[512];
    FILE *file = fopen(path, "r");
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        size_t length = strlen(name), n = 0;
        if (name[0] && (!value || strncmp(line, name, length) || (line[length] != ' ' && line[length] != '\t' && line[length] != ':')))
            continue;
        for (char *c = name[0] ? value + 1 : line; *c && n + 1 < size; c++) {
            const int space = *c == ' ' || *c == '\t' || *c == '\n' || *c == '"' || *c == '\\';
            if (!space) out[n++] = *c;
            else if (n && out[n - 1] != ' ') out[n++] = ' ';
        }
        out[n] = 0;
        if (n && out[n - 1] == ' ') out[n - 1] = 0;
        break;
    }
    fclose(file);
}

static int caches[3]; /* KB */
static char processor[256];

static void know(void) {
    char path[128], level[32], kind[32], size[32], part[128] = "";
    word_of("/proc/cpuinfo", "model name", processor, sizeof processor);
    if (!processor[0]) {
        word_of("/proc/cpuinfo", "CPU implementer", processor, 64);
        if (!processor[0]) word_of("/proc/cpuinfo", "uarch", processor, 64);
        if (!processor[0]) strcpy(processor, "unknown");
        word_of("/proc/cpuinfo", "CPU part", part, sizeof part);
        if (part[0]) strcat(strcat(processor, " "), part);
    }
    for (int i = 0; i < 10; i++) {
        level[0] = kind[0] = size[0] = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        word_of(path, "", level, sizeof level);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        word_of(path, "", kind, sizeof kind);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        word_of(path, "", size, sizeof size);
        const int n = atoi(level);
        if (strcmp(kind, "Instruction") && n >= 1 && n <= 3 && strchr(size, 'K')) caches[n - 1] = atoi(size);
    }
}

static const char *note(void) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__AVX512F__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return ", \"note\": \"timed on a larger machine\"";
#endif
    return "";
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count) {
    double sorted[MOST_ROUNDS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

typedef struct {
    float *in, *out[MOST_FRAMES], *wanted, *rest, *tiles, *sums, *weights;
    char *sweep;
    size_t sweep_bytes;
    const ef_stream *stream;
} bench;

static int64_t floats_of(const form *f) { return (int64_t)((f->channels + VL - 1) / VL) * f->plane; }

/* Before a transformed convolution is tried: its weights, and all frames but the newest. */
static void ready(const bench *b, const tune_case *c, const candidate *what) {
    if (!what->tile) return;
    float *to = b->weights + what->weights;
    for (int32_t row = 0; row < what->row_count; row++)
        for (int32_t i = 0; i < what->row_weights; i++) *to++ = what->rows[row];
    for (int frame = 0; frame < c->sources - 1; frame++) {
        const float *from = b->in + frame * c->inputs + c->origins[0];
        const job into = {b->stream, what->into, b->tiles + frame * floats_of(&what->into->out), NULL, &from, NULL};
        what->tile(&into, 0, 1);
    }
}

/* Floats that were transformed are not the same to the last bit; bytes and all others are. */
static int same(const tune_case *c, const candidate *what, const float *wanted, const float *got) {
    if (c->int8 || (!what->tile && !c->candidates[0].tile)) return !memcmp(wanted, got, (size_t)c->out * 4);
    float most = 0, apart = 0;
    for (int64_t i = 0; i < c->out; i++) most = MAX(most, fabsf(wanted[i])), apart = MAX(apart, fabsf(wanted[i] - got[i]));
    return apart <= 1e-4f * most;
}

/* One choice: seconds of a frame. What it reads of the weights has left the second-level cache, as in a network. */
static double once(const bench *b, const tune_case *c, const candidate *what, int frames, int times) {
    const float *in[EF_MAX_SOURCES];
    for (size_t i = 0; i < b->sweep_bytes; i += 64) b->sweep[i]++;
    volatile float sum = 0;
    for (int64_t i = 0; i < c->inputs * (frames + c->sources - 1); i += 16) sum += b->in[i];
    const double begun = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int n = 0; n < frames * times; n++) {
        const int frame = n % frames;
        const float *rest = c->rest ? b->rest + c->rest_origin : NULL;
        float *out = b->out[frame] + c->out_origin;
        if (what->tile) { /* the newest frame is transformed, those before it have been */
            const int64_t size = floats_of(&what->into->out), newest = frame + c->sources - 1; /* of bytes half of it is used */
            const float *from = b->in + newest * c->inputs + c->origins[0], *sums = b->sums;
            const job into = {b->stream, what->into, b->tiles + newest * size, NULL, &from, NULL};
            const job back = {b->stream, what->back, out, rest, &sums, NULL};
            const job j = {b->stream, what->layer, b->sums, NULL, in, NULL};
            for (int s = 0; s < c->sources; s++) in[s] = b->tiles + (frame + s) * size;
            what->tile(&into, 0, 1);
            what->product(&j, 0, 1);
            what->untile(&back, 0, 1);
            continue;
        }
        for (int s = 0; s < c->sources; s++) in[s] = b->in + (frame + s) * c->inputs + c->origins[s];
        const job j = {b->stream, what->layer, out, rest, in, NULL};
        c->run(&j, 0, 1);
    }
    return (seconds(CLOCK_THREAD_CPUTIME_ID) - begun) / (frames * times);
}

/* What is faster than number `than` by more than noise, by pairs: a slow moment hits both. inexact: may it round more? */
static int best_of(const tune_case *c, double (*times)[MOST_ROUNDS], int rounds, const unsigned char *alive, int than, int inexact) {
    int chosen = than;
    double least = MARGIN;
    for (int i = 0; i < c->count; i++) {
        double ratio[MOST_ROUNDS];
        int won = 0;
        if (!alive[i] || i == than || c->candidates[i].inexact > inexact) continue;
        for (int r = 0; r < rounds; r++) ratio[r] = times[i][r] / MAX(times[than][r], 1e-9), won += ratio[r] < 1;
        if (median(ratio, rounds) <= least && 4 * won >= 3 * rounds) least = median(ratio, rounds), chosen = i;
    }
    return chosen;
}

static void tune(const bench *b, const tune_case *c, double until, FILE *result, int at, int of) {
    double (*times)[MOST_ROUNDS] = memory((size_t)c->count * sizeof *times);
    unsigned char *alive = memory((size_t)c->count);
    const size_t bytes = (size_t)c->out * 4;
    int rounds = 0, wrong = 0, tried = 0;
    for (int i = 0; i < MIN(c->frames, MOST_FRAMES) + c->sources - 1; i++)
        numbers(b->in + i * c->inputs, c->inputs, c->forms, c->origins[0], c->zero);
    for (int64_t i = 0; i < (c->int8 ? 0 : c->rest); i++) b->rest[i] = (float)((int32_t)(noise() >> 5) - 3);
    if (c->int8) numbers(b->rest, c->rest, NULL, 0, 0);
    ready(b, c, &c->candidates[0]);
    memset(alive, 1, (size_t)c->count);
    memset(b->out[0], 0, bytes);
    once(b, c, &c->candidates[0], 1, 1);
    memcpy(b->wanted, b->out[0], bytes);
    const double begun = seconds(CLOCK_MONOTONIC);
    once(b, c, &c->candidates[0], 1, 4);
    const double about = (seconds(CLOCK_MONOTONIC) - begun) / 4;
    /* as many frames as a step has, if they are quick: they share the weights that the first brought into the caches; and more than
       once what a clock cannot tell */
    const int frames = (int)MAX(1, MIN(MIN(c->frames, MOST_FRAMES), ENOUGH_S / about)), repeats = (int)MAX(1, LEAST_S / about / frames);
    for (; rounds < MOST_ROUNDS; rounds++) {
        if (rounds >= LEAST_ROUNDS && seconds(CLOCK_MONOTONIC) > until) break;
        double best = 1e30, exact = 1e30;
        for (int pass = 0; pass < 2; pass++) /* parents, then their children */
            for (int i = 0; i < c->count; i++) {
                const int parent = c->candidates[i].parent;
                if (!alive[i] || (parent != i) != pass) continue;
                if (rounds == 0 && i && (!alive[parent] || (pass && times[parent][0] > HOPELESS * (c->candidates[i].inexact ? best : exact)) || seconds(CLOCK_MONOTONIC) > until)) {
                    alive[i] = 0;
                    continue;
                }
                if (rounds == 0) memset(b->out[0], 0, bytes);
                ready(b, c, &c->candidates[i]);
                times[i][rounds] = once(b, c, &c->candidates[i], frames, repeats);
                if (rounds == 0 && !same(c, &c->candidates[i], b->wanted, b->out[0])) alive[i] = 0, wrong++;
                if (alive[i]) best = MIN(best, median(times[i], rounds + 1));
                if (alive[i] && !c->candidates[i].inexact) exact = MIN(exact, median(times[i], rounds + 1));
                tried += rounds == 0;
                if (rounds == 0 && result == stdout) printf("# %d of %d: %d choices of at most %d\n", at + 1, of, tried, c->count), fflush(stdout);
            }
        for (int i = 1; i < c->count; i++)
            if (alive[i] && median(times[i], rounds + 1) > HOPELESS * (c->candidates[i].inexact ? best : exact)) alive[i] = 0;
    }
    /* the best of all that are as exact as the default, and what is better still but not so exact */
    const int chosen = best_of(c, times, rounds, alive, 0, 0), quick = best_of(c, times, rounds, alive, chosen, 1);
    char also[512] = "";
    if (quick != chosen)
        snprintf(also, sizeof also, ", \"approximate\": %s, \"approximate_ms\": %.5g", c->candidates[quick].choice,
                 1e3 * median(times[quick], rounds));
    char date[32] = "";
    const time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    fprintf(result, "{%s, \"processor\": \"%s\", \"caches_kb\": [%d, %d, %d], \"choice\": %s, \"ms\": %.5g, \"default_ms\": %.5g%s, "
            "\"rounds\": %d, \"tried\": %d, \"date\": \"%s\", \"made_by\": \"" TUNE_MADE_BY ", " TUNE_COMPILER "\"%s}\n",
                c->key, processor, caches[0], caches[1], caches[2], c->candidates[chosen].choice, 1e3 * median(times[chosen], rounds),
                1e3 * median(times[0], rounds), also, rounds, tried, date, note()), fflush(result);
    if (wrong) fprintf(result, "# %d choices gave other results and were left out: {%s}\n", wrong, c->key);
    free(times);
    free(alive);
}

int main(int argc, char **argv) {
    const double budget = argc > 1 ? atof(argv[1]) : 60;
    const char *name = argc > 2 ? argv[2] : "tune.jsonl", *tables = argc > 3 ? argv[3] : "tune.tables";
    FILE *file = fopen(tables, "rb"), *result = strcmp(name, "-") ? fopen(name, "w") : stdout;
    float *weights = memory(4 * (TUNE_ONES + TUNE_WORDS));
    if (!(budget > 0) || !file || !result || fread(weights + TUNE_ONES, 4, TUNE_WORDS, file) != TUNE_WORDS) {
        fprintf(stderr, "tune: usage: %s [SECONDS [RESULT [TABLES]]]; %s has to be the file made with this program\n", argv[0], tables);
        return 2;
    }
    fclose(file);
    for (int64_t i = 0; i < TUNE_ONES; i++) weights[i] = 1;
    for (int64_t i = TUNE_HALVES; i < TUNE_FLOATS; i++) memcpy(weights + i, &(const int16_t[]){1, 1}, 4); /* of 16 bits */
    know();
    const ef_stream stream = {.weights = weights};
    bench b = {.stream = &stream, .sweep_bytes = (size_t)2048 * (caches[1] ? caches[1] : 2048)};
    int64_t inputs = 0, out = 0, rest = 0, tiles = 16, sums = 16;
    const int count = (int)(sizeof cases / sizeof *cases);
    double work = 0;
    for (int i = 0; i < count; i++) {
        const tune_case *c = &cases[i];
        inputs = MAX(inputs, c->inputs * (MIN(c->frames, MOST_FRAMES) + c->sources - 1));
        for (int n = 0; n < c->count; n++)
            if (c->candidates[n].tile) {
                tiles = MAX(tiles, floats_of(&c->candidates[n].into->out) * (MOST_FRAMES + c->sources - 1));
                sums = MAX(sums, floats_of(c->candidates[n].sums));
            }
        out = MAX(out, c->out), rest = MAX(rest, c->rest), work += c->work * c->count;
    }
    b.in = memory(4 * (size_t)inputs), b.wanted = memory(4 * (size_t)out), b.rest = memory(4 * (size_t)rest), b.sweep = memory(b.sweep_bytes);
    b.tiles = memory(4 * (size_t)tiles), b.sums = memory(4 * (size_t)sums), b.weights = weights;
    for (int i = 0; i < MOST_FRAMES; i++) b.out[i] = memory(4 * (size_t)out);
    double now = seconds(CLOCK_MONOTONIC);
    const double end = now + budget;
    for (int i = 0; i < count && now < end; i++) { /* what most of the time goes to comes first */
        const tune_case *c = &cases[i];
        tune(&b, c, now + (end - now) * c->work * c->count / work, result, i, count);
        work -= c->work * c->count;
        now = seconds(CLOCK_MONOTONIC);
    }
    return ferror(result) || (result != stdout && fclose(result)) ? 1 : 0;
}
