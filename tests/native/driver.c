/* A stream outside of Python, for processors that are only emulated.

       driver THREADS WEIGHTS < frames > logits

   frames: float32, steps of the network's input shape. The logits of all steps are written, then, after ef_reset, those of the same
   frames once more. The exit status is that of ef_init without its sign. WEIGHTS: their file. */

#include <stdio.h>
#include <stdlib.h>

#include MODEL

static float frames[EF_FRAMES * EF_CHANNELS * EF_HEIGHT * EF_WIDTH], logits[EF_ANSWER_FLOATS];
static _Alignas(64) unsigned char memory[EF_MEMORY_BYTES], weights[EF_WEIGHT_BYTES];

int main(int count, char **arguments) {
    FILE *file = count == 3 ? fopen(arguments[2], "rb") : NULL;
    if (!file) return 100;
    const size_t bytes = fread(weights, 1, sizeof weights, file);
    fclose(file);
    ef_stream *stream;
    const int error = ef_init(memory, sizeof memory, weights, bytes, atoi(arguments[1]), &stream);
    if (error) return -error;
    for (int pass = 0; pass < 2; pass++) {
        rewind(stdin);
        while (fread(frames, sizeof frames, 1, stdin) == 1) {
            if (ef_step(stream, frames, logits)) return 101;
            fwrite(logits, sizeof logits, 1, stdout);
        }
        ef_reset(stream);
    }
    ef_free(stream);
    return 0;
}
