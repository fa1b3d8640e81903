@NOTES@
#ifndef @GUARD@
#define @GUARD@

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Everything else in a library compiled with -fvisibility=hidden is its own affair. */
#define EF_API __attribute__((visibility("default")))

/* A step takes EF_FRAMES frames of (EF_CHANNELS, EF_HEIGHT, EF_WIDTH), normalized; a clip network (EF_CLIP 1) takes
   (EF_CHANNELS, EF_FRAMES, EF_HEIGHT, EF_WIDTH). It answers with EF_CLASSES logits, and
   behind them with its other outputs, EF_ANSWER_FLOATS values in all: @ANSWERS@. */
@SIZES@

@MODEL@

enum {
    EF_OK = 0,
    EF_BAD_ARGUMENT = -1, /* a null pointer, memory or weights that are not aligned to 64 bytes, an impossible number of threads */
    EF_NO_MEMORY = -2,    /* fewer than EF_MEMORY_BYTES */
    EF_BAD_WEIGHTS = -3,  /* not the weights of this model, of another version, or damaged */
    EF_THREADS_REFUSED = -4, /* the system refuses to start them */
};

typedef struct ef_stream ef_stream;

/* Begins a stream in `memory`, which the caller owns and which must stay until ef_free; nothing else is ever allocated. memory may
   be NULL where the file was compiled with EF_STATIC_ARENA, weights where it was compiled with EF_EMBED. Streams share weights. */
EF_API int ef_init(void *memory, size_t bytes, const void *weights, size_t weight_bytes, int threads, ef_stream **stream);
/* One step. The logits may be read before the network has seen enough; the model's metadata says from when on they mean something. */
EF_API int ef_step(ef_stream *stream, const float *frames, float *logits);
/* Forgets everything: the next frame is the first. */
EF_API int ef_reset(ef_stream *stream);
/* Ends the stream's threads. The memory is the caller's again. */
EF_API void ef_free(ef_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
