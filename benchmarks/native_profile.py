"""Where a compiled network spends its time: each layer beside what the processor could do at best.

    python benchmarks/native_profile.py model.step.onnx
    python benchmarks/native_profile.py model.onnx --threads 2 --top 20

The model is compiled with EF_PROFILE, which takes the time of every call of a kernel; the least of many steps counts. The calls
of one layer (one for each frame) are added. `floor` is the greater of two times: multiply-adds at the rate of a loop that does
nothing else, and the layer's weights at the rate at which memory is read.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from machine_limits import limits

from everyframe.benchmarking import Table
from everyframe.benchmarking.operators import kernels
from everyframe.modelfile.file import load


@dataclass
class Row:
    """A layer: its calls, least time in microseconds, multiply-adds, bytes of weights."""

    label: str
    kernel: str
    calls: int = 0
    us: float = 0.0
    macs: int = 0
    bytes: int = 0


def profile(path: Path, threads: int, steps: int, cpu: str = "native") -> list[Row]:
    """The layers in the order in which they run."""
    rows: dict[tuple[str, str], Row] = {}
    for work, us in kernels(load(path), path, threads, steps, cpu):
        row = rows.setdefault((work.label, work.kernel), Row(work.label, work.kernel, bytes=work.bytes))
        row.calls, row.us, row.macs = row.calls + 1, row.us + us, row.macs + work.macs
    return list(rows.values())


def table(rows: list[Row], threads: int, top: int) -> Table:
    machine = limits(threads)
    whole = sum(row.us for row in rows)
    made = Table(
        f"{whole / 1e3:.2f} ms in kernels, {threads} thread{'s' * (threads > 1)}",
        ["layer", "kernel", "calls", "us", "share", "GFLOP/s", "of peak", "floor us"],
    )
    for row in sorted(rows, key=lambda row: -row.us)[:top]:
        rate = 2e-3 * row.macs / max(row.us, 1e-9)
        floor = max(2e-3 * row.macs / machine.gflops, row.bytes * 1e-3 / machine.gbytes)
        made.rows.append(
            [row.label, row.kernel, row.calls, f"{row.us:.0f}", f"{row.us / whole:.1%}", f"{rate:.1f}",
             f"{rate / machine.gflops:.0%}", f"{floor:.0f}"]
        )  # fmt: skip
    for kernel in sorted({row.kernel for row in rows}):
        mine = [row for row in rows if row.kernel == kernel]
        time = sum(row.us for row in mine)
        made.notes.append(f"{kernel}: {time / 1e3:.2f} ms, {2e-3 * sum(row.macs for row in mine) / max(time, 1e-9):.0f} GFLOP/s")
    made.notes.append(f"Peak {machine.gflops:.0f} GFLOP/s, memory {machine.gbytes:.0f} GB/s.")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a step or clip model (.onnx)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--top", type=int, default=40, help="slowest layers to show")
    parser.add_argument("--cpu", default="native")
    args = parser.parse_args()
    table(profile(args.model, args.threads, args.steps, args.cpu), args.threads, args.top).show()


if __name__ == "__main__":
    main()
