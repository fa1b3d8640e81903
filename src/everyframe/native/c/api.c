/* -- the stream ----------------------------------------------------------------------------------------------------------------- */

#define EF_ARENA_OFFSET ((sizeof(struct ef_stream) + 63) / 64 * 64)
_Static_assert(sizeof(struct ef_stream) <= EF_HEAD_BYTES, "EF_HEAD_BYTES is too small for this platform");

#ifdef EF_EMBED
/* The weights as part of the library: EF_EMBED is the file's name in quotes. */
__asm__(".section .rodata\n.balign 64\nef_embedded:\n.incbin \"" EF_EMBED "\"\n.balign 64\n.previous\n");
extern const unsigned char ef_embedded[] __attribute__((visibility("hidden")));
#endif

#ifdef EF_STATIC_ARENA
static _Alignas(64) unsigned char ef_arena[EF_MEMORY_BYTES];
#endif

static int weights_fit(const uint32_t *words, size_t bytes) {
    if (bytes < 64 || memcmp(words, "EFWEIGHT", 8) || words[2] != EF_WEIGHT_FORMAT || words[3] != EF_WEIGHT_WORDS) return 0;
    if (bytes < 64 + 4 * (size_t)EF_WEIGHT_WORDS) return 0;
    if (words[6] != (uint32_t)(EF_MODEL_HASH & 0xffffffffu) || words[7] != (uint32_t)(EF_MODEL_HASH >> 32)) return 0;
    uint64_t first = 0, second = 0;
    for (uint32_t i = 0; i < EF_WEIGHT_WORDS; i++) {
        first += words[16 + i];
        second += (uint64_t)words[16 + i] * (i % 65521 + 1);
    }
    return words[4] == (uint32_t)first && words[5] == (uint32_t)second;
}

int ef_reset(ef_stream *s) {
    if (!s) return EF_BAD_ARGUMENT;
    for (int i = 0; i < EF_COUNTERS; i++) s->counter[i] = 0;
    start_states(s);
    return EF_OK;
}

int ef_init(void *memory, size_t bytes, const void *weights, size_t weight_bytes, int threads, ef_stream **stream) {
    if (!stream || threads < 1 || threads > EF_MAX_THREADS) return EF_BAD_ARGUMENT;
    *stream = NULL;
#ifdef EF_STATIC_ARENA
    if (!memory) {
        memory = ef_arena;
        bytes = sizeof ef_arena;
    }
#endif
    if (!memory || bytes < EF_MEMORY_BYTES) return EF_NO_MEMORY;
    if ((uintptr_t)memory % 64) return EF_BAD_ARGUMENT;
#ifdef EF_EMBED
    if (!weights) {
        weights = ef_embedded;
        weight_bytes = 64 + 4 * (size_t)EF_WEIGHT_WORDS;
    }
#endif
    if (!weights) return EF_BAD_WEIGHTS;
    if ((uintptr_t)weights % 64) return EF_BAD_ARGUMENT;
    if (!weights_fit(weights, weight_bytes)) return EF_BAD_WEIGHTS;
    memset(memory, 0, EF_MEMORY_BYTES);
    ef_stream *s = memory;
    s->weights = (const float *)weights + 16;
    s->arena = (float *)((unsigned char *)memory + EF_HEAD_BYTES);
    fill_constants(s);
    if (pool_start(&s->pool, threads)) return EF_THREADS_REFUSED;
    ef_reset(s);
    *stream = s;
    return EF_OK;
}

void ef_free(ef_stream *s) {
    if (s) pool_stop(&s->pool);
}
