"""Processors that code can be made for: a row each."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path

from everyframe.errors import UsageError


@dataclass(frozen=True)
class Target:
    """block: channels side by side in memory, which is also the vector's width in floats. tiles: how many positions the kernel of
    each height (vectors of output channels) holds in registers. flags: for gcc and clang. compilers: tried in this order.
    """

    name: str
    block: int
    tiles: tuple[tuple[int, int], ...]
    flags: tuple[str, ...]
    compilers: tuple[str, ...] = ("cc", "gcc", "clang")
    machine: str = ""
    note: str = ""
    slice: int = 512  # entries of a convolution that are worked through before the next positions (see `pack`)
    macro: str = ""  # what a compiler defines that was called with the right flags
    narrow: Target | None = None  # the same with smaller blocks, which find more zeros in sparse weights

    @property
    def scalar(self) -> bool:
        return self.block == 1


_FAST = ("-O3",)
_X86 = ("x86_64", "AMD64")
#: accumulators, one weight vector a height and one input must fit: 16 registers of AVX2, 32 of AVX-512 and NEON
TARGETS = {
    target.name: target
    for target in (
        Target("generic", 1, (), ("-O2",), note="plain scalar C for any processor; slow, the reference"),
        Target("x86-64-v3", 8, ((1, 8), (2, 6)), (*_FAST, "-march=x86-64-v3"), machine="x86_64", note="AVX2 and FMA",
               macro="__AVX2__"),
        Target(
            "x86-64-v4", 16, ((1, 8), (2, 8)), (*_FAST, "-march=x86-64-v4", "-mprefer-vector-width=512"),
            machine="x86_64", note="AVX-512", slice=1024, macro="__AVX512F__",
            narrow=Target(
                "x86-64-v4", 8, ((1, 8), (2, 8)), (*_FAST, "-march=x86-64-v4", "-mprefer-vector-width=256"),
                machine="x86_64", note="AVX-512, vectors of 8 for the zeros in the weights", macro="__AVX512F__",
            ),
        ),
        Target(
            "aarch64", 4, ((1, 8), (2, 8), (4, 5)), _FAST, ("aarch64-linux-gnu-gcc",), "aarch64", "NEON", macro="__aarch64__",
        ),
        Target("riscv64", 1, (), ("-O2",), ("riscv64-linux-gnu-gcc",), "riscv64", "scalar", macro="__riscv"),
    )
}  # fmt: skip



def _with_vnni(name: str, of: str, flags: tuple[str, ...], note: str) -> None:
    """A row like another for processors that also have instructions for products of bytes."""
    base = TARGETS[of]
    narrow = base.narrow and replace(base.narrow, name=name, flags=(*base.narrow.flags, *flags), note=f"{note}, vectors of 8")
    TARGETS[name] = replace(base, name=name, flags=(*base.flags, *flags), note=note, narrow=narrow)


_with_vnni("x86-64-v3-vnni", "x86-64-v3", ("-mavxvnni",), "AVX2 and AVX-VNNI")
_with_vnni("x86-64-v4-vnni", "x86-64-v4", ("-mavx512vnni", "-mavx512vbmi"), "AVX-512 with VNNI")


def names() -> list[str]:
    return ["native", *TARGETS]


def target(name: str) -> Target:
    """Raises UsageError for a name that is not in the table."""
    if name == "native":
        return _this_machine()
    if name not in TARGETS:
        raise UsageError("There is no such processor.", where="--cpu", expected=", ".join(names()), got=name)
    found = TARGETS[name]
    if found.machine and found.machine == _machine():  # no cross compiler is needed
        return replace(found, compilers=Target.compilers)
    return found


_V3, _V4 = {"avx2", "fma"}, {"avx512f", "avx512vl", "avx512dq", "avx512bw"}
#: what /proc/cpuinfo must list
_NEEDED = {
    "x86-64-v3": _V3, "x86-64-v3-vnni": {*_V3, "avx_vnni"}, "x86-64-v4": _V4,
    "x86-64-v4-vnni": {*_V4, "avx512_vnni", "avx512vbmi"},
}  # fmt: skip


def runs_here(name: str) -> bool:
    """Can this machine run code made for the target?"""
    found = TARGETS.get(name)
    if found is None or (found.machine and found.machine != _machine()):
        return False
    return _NEEDED.get(name, set()) <= _cpu_flags()


def _machine() -> str:
    machine = platform.machine()
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _this_machine() -> Target:
    machine = _machine()
    if machine == "aarch64":
        return target("aarch64")
    if machine == "x86_64":
        for name in ("x86-64-v4-vnni", "x86-64-v4", "x86-64-v3-vnni", "x86-64-v3"):
            if runs_here(name):
                return target(name)
    return TARGETS["generic"]


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())
