/* motions.c: the network motions.onnx as C, made by everyframe 0.1.0 for x86-64-v4. Do not edit.
   Make it again with:  everyframe compile motions.onnx --cpu x86-64-v4 --emit-c DIR
   Model:               sha256 d31f9ff3de85bbd2a796ef99265166cd00eccb774dae16d34e1d3a5228526323
   Compile it with:     cc -O3 -march=x86-64-v4 -mprefer-vector-width=512 -std=gnu11 -ffp-contract=fast -fno-strict-aliasing -fno-math-errno -c motions.c  (link with -lm -lpthread)
   Define EF_NO_THREADS to do without threads, EF_STATIC_ARENA for memory in the data section,
   EF_EMBED='"FILE.weights"' for the weights in the data section.
   
   Letters: C channels, H height, W width, k taps (frames that a convolution reads), VL channels in a vector.
   
   Arena, in bytes:
            161,280  states and what becomes one
             24,576  what was before the first frame
            314,944  everything within a step */

#ifndef EF_MOTIONS_H
#define EF_MOTIONS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Everything else in a library compiled with -fvisibility=hidden is its own affair. */
#define EF_API __attribute__((visibility("default")))

/* A step takes EF_FRAMES frames of (EF_CHANNELS, EF_HEIGHT, EF_WIDTH), normalised; a clip network (EF_CLIP 1) takes
   (EF_CHANNELS, EF_FRAMES, EF_HEIGHT, EF_WIDTH). It answers with EF_CLASSES logits. */
#define EF_FRAMES 1
#define EF_CHANNELS 1
#define EF_HEIGHT 48
#define EF_WIDTH 64
#define EF_CLASSES 8
#define EF_CLIP 0
#define EF_MEMORY_BYTES 503168
#define EF_WEIGHT_BYTES 962496

/* The model's own: channels come as gray. */
#define EF_SCALE 0.00392156886f /* a value becomes (pixel * EF_SCALE - EF_MEAN) / EF_STD */
#define EF_MEAN {0.5f}
#define EF_STD {0.25f}
#define EF_FIRST_FRAMES 1 /* predictions mean something from the step with this frame on */
#define EF_LABELS {"none", "swipe_left", "swipe_right", "swipe_up", "swipe_down", "wave", "circle_clockwise", "circle_counterclockwise"}

enum {
    EF_OK = 0,
    EF_BAD_ARGUMENT = -1, /* a null pointer, memory or weights that are not aligned to 64 bytes, an impossible number of threads */
    EF_NO_MEMORY = -2,    /* fewer than EF_MEMORY_BYTES */
    EF_BAD_WEIGHTS = -3,  /* not the weights of this model, of another version, or damaged */
    EF_NO_THREADS = -4,   /* the system refuses to start them */
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
