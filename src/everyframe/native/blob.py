"""The weights as one block of 32-bit words: packed kernels, biases and the integer tables that kernels read.

8 words   magic "EFWEIGHT", format, words of data, checksum (2 words, low first), model hash (2 words)
data      arrays, each aligned to 64 bytes
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FORMAT = 1
MAGIC = b"EFWEIGHT"
HEADER_WORDS = 16
_ALIGN = 16
_PLACES = 65521


class Blob:
    """Collects arrays; every array is stored once."""

    def __init__(self) -> None:
        self.words = 0
        self.arrays: list[np.ndarray] = []
        self._known: dict[object, int] = {}

    def add(self, array: np.ndarray) -> int:
        """Puts float32 or int32 values in; returns the offset of the first in words."""
        data = np.ascontiguousarray(array)
        if data.dtype not in (np.float32, np.int32):
            raise TypeError(f"the blob takes float32 and int32, not {data.dtype}")
        return self.once((str(data.dtype), data.tobytes()), lambda: data)

    def once(self, key: object, make: Callable[[], np.ndarray]) -> int:
        """`add` under a key that says what the array is, so that it is made only once."""
        if key not in self._known:
            data = make().ravel()
            data = np.pad(data, (0, -data.nbytes % 4 // data.itemsize)).view(np.uint32)
            padded = np.zeros(max(1, -(-data.size // _ALIGN)) * _ALIGN, np.uint32)
            padded[: data.size] = data
            self._known[key] = self.words
            self.arrays.append(padded)
            self.words += padded.size
        return self._known[key]

    def to_bytes(self, model_hash: int) -> bytes:
        data = np.concatenate([*self.arrays, np.zeros(_ALIGN, np.uint32)])
        head = np.zeros(HEADER_WORDS, np.uint32)
        head[:2] = np.frombuffer(MAGIC, np.uint32)
        total = checksum(data)
        head[2:8] = FORMAT, data.size, total & 0xFFFFFFFF, total >> 32, model_hash & 0xFFFFFFFF, model_hash >> 32
        return head.tobytes() + data.tobytes()


def checksum(words: np.ndarray) -> int:
    """Two sums modulo 2**32, the second weighted by place, so that changed and swapped words are found."""
    whole = words.size // _PLACES * _PLACES
    by_place = words[:whole].reshape(-1, _PLACES).sum(axis=0, dtype=np.uint64)
    by_place[: words.size - whole] += words[whole:]
    first = int(by_place.sum()) & 0xFFFFFFFF
    with np.errstate(over="ignore"):
        second = int((by_place * np.arange(1, _PLACES + 1, dtype=np.uint64)).sum()) & 0xFFFFFFFF
    return second << 32 | first
