"""Processors that code can be made for: a row each."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from everyframe.errors import UsageError


@dataclass(frozen=True)
class Target:
    """block: channels side by side in memory, which is also the vector's width in floats. tiles: how many positions the kernel of
    each height (vectors of output channels) holds in registers. flags: for gcc and clang. machine: what the system calls its
    kind, empty for any. zig_cpu: what zig calls the processor. cross_gcc: Debian's cross compiler is good enough.
    """

    name: str
    block: int
    tiles: tuple[tuple[int, int], ...]
    flags: tuple[str, ...]
    machine: str = ""
    zig_cpu: str = "baseline"
    cross_gcc: bool = True
    note: str = ""
    #: the same for positions side by side, which need no pointers; empty: as `tiles`. Of one vector as many as registers hold,
    #: since each of its sums needs a load of its own: what else an entry costs is spread over more of them
    runs: tuple[tuple[int, int], ...] = ()
    slice: int = 512  # entries of a convolution that are worked through before the next positions (see `choice`)
    #: (slice, block, fetch) where others than (`slice`, 196, 1) are better: for kernels in space, and for those in time alone
    space: tuple[int, int, int] | None = None
    time: tuple[int, int, int] | None = None
    registers: int = 32  # for vectors
    product: int = 0  # of the products of transformed frames (see `winograd`), where that is the default; 0: it is not
    macro: str = ""  # what a compiler defines that was called with the right flags
    narrow: Target | None = None  # the same with smaller blocks, which find more zeros in sparse weights

    def __post_init__(self) -> None:
        if not self.runs:
            object.__setattr__(self, "runs", self.tiles)

    @property
    def scalar(self) -> bool:
        return self.block == 1

    @property
    def saturates(self) -> bool:
        """Are sums of two products of bytes cut off at 16 bits by the fastest instructions for them?"""
        return self.machine == "x86_64" and not self.name.endswith("-vnni")


_FAST = ("-O3",)
#: not a processor of a machine: browsers and node run it
WASM = "wasm32"

#: accumulators, one weight vector a height and one input must fit: 16 registers of AVX2, 32 of AVX-512 and NEON
TARGETS = {
    target.name: target
    for target in (
        Target("generic", 1, (), ("-O2",), note="plain scalar C for any processor; slow, the reference"),
        Target("x86-64-v3", 8, ((1, 8), (2, 6)), (*_FAST, "-march=x86-64-v3"), "x86_64", "x86_64_v3", note="AVX2 and FMA",
               macro="__AVX2__", space=(144, 784, 0), time=(48, 784, 0), product=256, registers=16,
               runs=((1, 14), (2, 6), (4, 1))),
        Target(
            "x86-64-v4", 16, ((1, 8), (2, 8), (3, 8)), (*_FAST, "-march=x86-64-v4", "-mprefer-vector-width=512"),
            "x86_64", "x86_64_v4", note="AVX-512", slice=1024, product=256, runs=((1, 28), (2, 14), (3, 8)), macro="__AVX512F__",
            narrow=Target(
                "x86-64-v4", 8, ((1, 8), (2, 8)), (*_FAST, "-march=x86-64-v4", "-mprefer-vector-width=256"),
                "x86_64", "x86_64_v4", note="AVX-512, vectors of 8 for the zeros in the weights", macro="__AVX512F__",
                product=256, runs=((1, 28), (2, 14)),
            ),
        ),
        Target("aarch64", 4, ((1, 8), (2, 8), (4, 5)), _FAST, "aarch64", note="NEON", macro="__aarch64__"),
        Target("riscv64", 1, (), ("-O2",), "riscv64", "baseline_rv64", note="scalar", macro="__riscv"),
        Target(
            "riscv64-v", 4, ((1, 8), (2, 8), (4, 5)), (*_FAST, "-march=rv64gcv"), "riscv64", "baseline_rv64+v",
            cross_gcc=False, note="vectors of RVV 1.0", macro="__riscv_v",  # gcc before 14 takes such vectors apart
        ),
        # browsers: the same blocks and tiles in both, so that one file of weights serves them; relaxed has fused multiply-adds
        Target(
            "wasm32-simd128", 4, ((1, 8), (2, 6)), (*_FAST, "-msimd128"), WASM, "generic", cross_gcc=False, registers=16,
            note="WebAssembly", macro="__wasm_simd128__",
        ),
        Target(
            "wasm32-relaxed", 4, ((1, 8), (2, 6)), (*_FAST, "-msimd128", "-mrelaxed-simd"), WASM, "generic",
            cross_gcc=False, registers=16, note="WebAssembly, relaxed SIMD", macro="__wasm_relaxed_simd__",
        ),
    )
}  # fmt: skip


def _with_vnni(name: str, of: str, more: tuple[str, ...], note: str) -> None:
    """A row like another for processors that also have instructions for products of bytes. more: what they are called."""
    macro = f"__{more[0].upper()}__"
    base = replace(TARGETS[of], macro=macro)
    flags, zig = tuple(f"-m{each}" for each in more), "".join(f"+{each}" for each in more)
    narrow = base.narrow and replace(
        base.narrow, name=name, flags=(*base.narrow.flags, *flags), zig_cpu=base.zig_cpu + zig, macro=macro,
        note=f"{note}, vectors of 8",
    )  # fmt: skip
    TARGETS[name] = replace(base, name=name, flags=(*base.flags, *flags), zig_cpu=base.zig_cpu + zig, note=note, narrow=narrow)


_with_vnni("x86-64-v3-vnni", "x86-64-v3", ("avxvnni",), "AVX2 and AVX-VNNI")
_with_vnni("x86-64-v4-vnni", "x86-64-v4", ("avx512vnni", "avx512vbmi"), "AVX-512 with VNNI")


def names() -> list[str]:
    return ["native", *TARGETS]


def target(name: str) -> Target:
    """Raises UsageError for a name that is not in the table."""
    if name == "native":
        return _this_machine()
    if name not in TARGETS:
        raise UsageError("There is no such processor.", where="--cpu", expected=", ".join(names()), got=name)
    return TARGETS[name]


_V3, _V4 = {"avx2", "fma"}, {"avx512f", "avx512vl", "avx512dq", "avx512bw"}
#: what /proc/cpuinfo must list
_NEEDED = {
    "x86-64-v3": _V3, "x86-64-v3-vnni": {*_V3, "avx_vnni"}, "x86-64-v4": _V4,
    "x86-64-v4-vnni": {*_V4, "avx512_vnni", "avx512vbmi"}, "riscv64-v": {"v"},
}  # fmt: skip


def runs_here(name: str) -> bool:
    """Can this machine run code made for the target?"""
    found = TARGETS.get(name)
    if found is None or (found.machine and found.machine != machine()):
        return False
    return _NEEDED.get(name, set()) <= _cpu_flags()


def machine() -> str:
    """What this one is, as Linux calls it."""
    own = platform.machine()
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(own, own)


def _this_machine() -> Target:
    here = machine()
    if here == "aarch64":
        return target("aarch64")
    if here == "x86_64":
        for name in ("x86-64-v4-vnni", "x86-64-v4", "x86-64-v3-vnni", "x86-64-v3"):
            if runs_here(name):
                return target(name)
    return TARGETS["generic"]


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    lines = dict(line.partition("\t")[::2] for line in text.splitlines())
    letters = lines.get("isa", "").strip(": \t").partition("_")[0].removeprefix("rv64")
    flags = set(lines.get("flags", "").strip(": \t").split())
    # under an emulator that file still speaks of the host; numpy asks the processor itself, and names no lack where it finds none
    lacks: list[str] = np.show_config("dicts").get("SIMD Extensions", {}).get("not found", [])  # type: ignore[union-attr]
    if {"X86_V4", "AVX512F", "AVX512_SKX"} & {*lacks} and "avx512f" in flags:
        flags = {flag for flag in flags if not flag.startswith(("avx512", "avx_vnni"))}
    return {*flags, *letters}
