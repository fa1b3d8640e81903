/* Raw pictures in, labels out, without Python: the generated C of a model and this file are a whole program.

       everyframe compile builtin --cpu native --emit-c motions_c
       cc -O2 -march=native -std=gnu11 -Imotions_c -DEF_EMBED='"motions_c/motions.weights"' \
          -DMODEL='"motions.c"' examples/c/predict.c -o predict -lm -lpthread
       ffmpeg -v error -i video.mp4 -vf fps=12,scale=64:48 -pix_fmt gray -f rawvideo - | ./predict

   It reads pictures of the network's size, one byte a channel, channels side by side (EF_HEIGHT, EF_WIDTH, EF_CHANNELS), from
   standard input, and prints the best label after every step. No memory is allocated. */

#include <stdio.h>

/* The model's code is part of this file, so that the compiler's options above are enough for both. */
#define EF_STATIC_ARENA
#include MODEL

static unsigned char picture[EF_HEIGHT][EF_WIDTH][EF_CHANNELS];
static float frames[EF_FRAMES][EF_CHANNELS][EF_HEIGHT][EF_WIDTH];
static float logits[EF_ANSWER_FLOATS];

/* One picture as the network takes it. */
static void normalize(float out[EF_CHANNELS][EF_HEIGHT][EF_WIDTH]) {
    static const float mean[] = EF_MEAN, std[] = EF_STD;
    for (int y = 0; y < EF_HEIGHT; y++)
        for (int x = 0; x < EF_WIDTH; x++)
            for (int c = 0; c < EF_CHANNELS; c++) out[c][y][x] = (picture[y][x][c] * EF_SCALE - mean[c]) / std[c];
}

int main(void) {
    static const char *const labels[] = EF_LABELS;
    ef_stream *stream;
    const int error = ef_init(NULL, 0, NULL, 0, 1, &stream);
    if (error) {
        fprintf(stderr, "error: the stream does not start (%d)\n", error);
        return 2;
    }
    long count = 0;
    while (fread(picture, sizeof picture, 1, stdin) == 1) {
        normalize(frames[count++ % EF_FRAMES]);
        if (count % EF_FRAMES) continue;
        ef_step(stream, &frames[0][0][0][0], logits);
        if (count < EF_FIRST_FRAMES) continue;
        int best = 0;
        for (int i = 1; i < EF_CLASSES; i++)
            if (logits[i] > logits[best]) best = i;
        printf("%ld %s\n", count - 1, labels[best]);
    }
    ef_free(stream);
    return 0;
}
