"""A small set of models that says whether everyframe became faster or slower: what `make bench-check` holds against the stored
result.

    python benchmarks/standard.py                       about five minutes
    python benchmarks/standard.py --check               the same, compared with what is stored: ends with 1 where something is
    slower

Each network runs as clip and as step on every engine, and as code for AVX2 and for AVX-512 where the processor has both. Writes
benchmarks/results/standard.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import networks

import everyframe
from everyframe.benchmarking import Table, one_line
from everyframe.benchmarking.compare import compare
from everyframe.benchmarking.draw import latencies, memory
from everyframe.benchmarking.outcome import Benchmark, parsed, read
from everyframe.benchmarking.papers import ms, shown
from everyframe.benchmarking.tables import compare_table
from everyframe.errors import EngineError, UsageError
from everyframe.native.target import target

MODELS = ("x3d_s", "mobilenet3d_v2_1.0x", "tsm_mobilenet_v2_online")
OUTPUT = networks.RESULTS / "standard.json"
#: the narrower instructions of a processor that has wider ones
NARROW = "x86-64-v3"


def measure(models: list[str], frames: int) -> Benchmark:
    files: list[Path | str] = ["builtin"]
    for name in models:
        clip, step = networks.clip_and_step(name)
        files += [clip, step]
        if target("native").name.startswith("x86-64-v4"):
            for path in (clip, step):
                library = path.with_suffix(f".{NARROW}.so")
                if not library.exists():
                    everyframe.compile(path, library, cpu=NARROW)
                files.append(library)
    return everyframe.benchmark(files, frames=frames, progress=lambda text: print(text, flush=True)).benchmark


def tables(results: dict[str, Any]) -> list[Table]:
    found = parsed(results)
    made = Table("The standard set, one thread: ms of processor time a call", ("model", "native", "onnxruntime", "OpenVINO"))
    for name in dict.fromkeys(Path(row.model).name for row in found.measured):
        rows = {row.engine: row for row in found.measured if Path(row.model).name == name}
        made.rows.append(
            [name, *(shown(ms(rows[engine])) if engine in rows else "–" for engine in ("native", "ort", "openvino"))]
        )
    made.notes.append(f"`{NARROW}.so`: code for AVX2, on the same processor.")
    made.notes += [*found.notes, one_line(found.machine)]
    return [made]


def pictures(results: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
    """Name of the file -> heading, PNG."""
    rows = parsed(results).measured
    return {
        "standard_latency": ("Latency of a call by the clock: median, and from 5 to 95 of 100 calls", latencies(rows)),
        "standard_memory": ("Memory beside Python itself", memory(rows)),
    }


def check(new: Benchmark) -> int:
    """How many are slower than stored, beyond the noise of both. Raises UsageError where nothing can be compared."""
    old = read(OUTPUT)
    if old.machine.get("cpu") != new.machine.get("cpu"):  # rows have threads of their own; fewer cores are told in a note
        raise UsageError(
            "The stored result is of another machine.", where=OUTPUT, expected=old.machine.get("cpu"), got=new.machine.get("cpu"),
            hint="make bench, on this one, first",
        )  # fmt: skip
    found = compare(old, new)
    compare_table(found).show()
    slower = [one for one in found.changes if one.verdict == "slower"]
    for one in slower:
        print(f"slower: {one.after.name}: {one.ratio}", file=sys.stderr)
    return len(slower)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of the zoo")
    parser.add_argument("--frames", type=int, default=100, help="calls of each that count")
    parser.add_argument("--quick", action="store_true", help="ten calls of each")
    parser.add_argument("--check", action="store_true", help="compare with what is stored, and keep that")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    if args.check and not OUTPUT.exists():
        sys.exit(f"Nothing is stored: run python benchmarks/standard.py, which writes {OUTPUT.relative_to(networks.ROOT)}")
    try:
        found = measure(args.models, 10 if args.quick else args.frames)
        if args.check:
            sys.exit(1 if check(found) else 0)
    except (EngineError, UsageError) as error:
        sys.exit(str(error))
    found.costs = {}
    for row in found.rows:
        row.model = Path(row.model).name
    results = found.to_dict()
    networks.finish(tables(json.loads(json.dumps(results))), results, args.output)


if __name__ == "__main__":
    main()
