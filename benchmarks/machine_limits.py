"""What this processor can do at best: multiply-adds in registers, and reading memory."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from everyframe.native.compilers import compiler
from everyframe.native.target import target

# Ten independent chains of fused multiply-adds of 32 bytes, and the sum of 256 MB: each thread by itself.
_C = r"""
#include <pthread.h>
#include <stddef.h>
#include <time.h>
typedef float vf __attribute__((vector_size(32)));
enum { CHAINS = 10, ROUNDS = 4000000, FLOATS = 1 << 26 };
static float *memory;
static int threads;
static volatile float sink;

static double now(void) {
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}
static void *multiply(void *number) {
    vf a = {0}, b = a + 1, c = a + 2, d = a + 3, e = a + 4, f = a + 5, g = a + 6, h = a + 7, i = a + 8, j = a + 9;
    const vf x = a + 0.9f, y = b;
    for (int r = 0; r < ROUNDS; r++) {
        a = a * x + y; b = b * x + y; c = c * x + y; d = d * x + y; e = e * x + y;
        f = f * x + y; g = g * x + y; h = h * x + y; i = i * x + y; j = j * x + y;
    }
    sink = (a + b + c + d + e + f + g + h + i + j)[0];
    return number;
}
static void *read_all(void *number) {
    const size_t part = FLOATS / threads, first = part * (size_t)number;
    vf sum[8] = {{0}};
    for (size_t i = first; i + 64 <= first + part; i += 64)
        for (int k = 0; k < 8; k++) sum[k] += *(const vf *)(memory + i + 8 * k);
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    sink = sum[0][0];
    return number;
}
static double run(void *(*what)(void *)) {
    pthread_t others[64];
    const double started = now();
    for (size_t i = 1; i < (size_t)threads; i++) pthread_create(&others[i], NULL, what, (void *)i);
    what((void *)0);
    for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
    return now() - started;
}
double gflops(int count) {
    threads = count;
    return count * 2.0 * 8 * CHAINS * ROUNDS / run(multiply) * 1e-9;
}
double gbytes(int count, float *buffer) {
    threads = count;
    memory = buffer;
    return 4.0 * FLOATS / run(read_all) * 1e-9;
}
"""
_FLOATS = 1 << 26
_TRIALS = 5


@dataclass(frozen=True)
class Limits:
    """gflops: float32, a multiply-add is two. gbytes: read from memory, a second."""

    gflops: float
    gbytes: float


@cache
def limits(threads: int) -> Limits:
    """The best of a few trials. Raises EngineError without a compiler."""
    import numpy as np

    chosen = target("native")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "limits.c", Path(folder) / "limits.so"
        source.write_text(_C)
        flags = [*chosen.flags, "-ffp-contract=fast", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]
        subprocess.run([*compiler(chosen), *flags, "-shared", "-fPIC", "-o", library, source, "-lpthread"], check=True)
        code = ctypes.CDLL(str(library))
    code.gflops.restype = code.gbytes.restype = ctypes.c_double
    memory = np.ones(_FLOATS + 8, np.float32)
    start = memory.ctypes.data + -memory.ctypes.data % 32
    code.gbytes.argtypes = [ctypes.c_int, ctypes.c_void_p]
    return Limits(max(code.gflops(threads) for _ in range(_TRIALS)), max(code.gbytes(threads, start) for _ in range(_TRIALS)))


if __name__ == "__main__":
    for count in (1, 2):
        print(f"{count} thread(s): {limits(count).gflops:.0f} GFLOP/s, {limits(count).gbytes:.0f} GB/s")
