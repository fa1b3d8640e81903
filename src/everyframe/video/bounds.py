"""What decoding may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What decoding may cost where a stranger sent the video. memory: bytes of address space. cpu_s: seconds of processor time.
    pixels: of one frame.
    """

    memory: int = 1_500_000_000
    cpu_s: int = 600
    pixels: int = 4096 * 2304
