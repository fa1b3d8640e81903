"""Memory that a training frees stays with the process.

glibc gives blocks of 32 MB and more, and the free end of its heap, back to the system at once. A step of a training frees and
takes hundreds of such blocks, and the system clears each page anew: a sixth of the time of a small 3-D network on a processor.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

#: parameters of glibc's mallopt(3)
TRIM_THRESHOLD, MMAP_MAX = -1, -4
#: what glibc itself ends with where large blocks come and go, and has from the beginning
USUAL_TRIM, USUAL_MMAP_MAX = 64 << 20, 65536


@contextlib.contextmanager
def kept() -> Iterator[bool]:
    """Whether anything is changed within: with glibc alone. Afterwards all that is free goes back."""
    if platform.libc_ver()[0] != "glibc":
        yield False
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield True
    finally:
        libc.mallopt(MMAP_MAX, USUAL_MMAP_MAX)
        libc.mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        libc.malloc_trim(0)
