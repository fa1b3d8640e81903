"""How fast clips become batches, without a network: decoding, the cache, augmentation, worker processes.

    python benchmarks/data_pipeline.py FOLDER        a folder with a folder for each class, as docs/data.md has it
    python benchmarks/data_pipeline.py FOLDER --clips 64 --repeats 1      for a look

`cpu_ms` is processor time a clip with no worker process, so other programs disturb it little; `clips_s` is by the clock, with
as many worker processes as the column says. The first batch is not counted: it starts the processes. Writes
benchmarks/results/data_pipeline.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import networks

from everyframe.benchmarking import Table, describe, one_line
from everyframe.data.cache import Store
from everyframe.data.clips import Clip
from everyframe.data.formats import read
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import Augment, Data, Sampling
from everyframe.training import loader

#: name -> frames, (height, width), preprocessing
INPUTS = {
    "16x112x112": (16, (112, 112), Preprocess(resize=112, crop=(112, 112))),
    "30x72x96": (30, (72, 96), Preprocess(resize=(72, 96))),
}
PUBLISHED = {"scales": (1.0, 0.8409, 0.7071, 0.5946)}  # of arXiv:1904.02422
#: name -> (cache?, augmentation)
CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    "decoded": (False, PUBLISHED),
    "from the cache": (True, PUBLISHED),
    "from the cache, colors": (True, PUBLISHED | {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}),
    "from the cache, colors and turns": (
        True, PUBLISHED | {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05, "rotate": 10.0},
    ),
}  # fmt: skip
BATCH = 16


def rate(job: loader.Clips, workers: int, clock: Callable[[], float]) -> float:
    """Seconds a clip by `clock`, over an epoch without its first batch."""
    with loader.Loader(job, BATCH, workers=workers) as made:
        batches = made.batches(0)
        next(batches)
        begun, count = clock(), 0
        for batch in batches:
            count += len(batch.labels)
        return (clock() - begun) / count


def measure(clips: tuple[Clip, ...], folder: Path, repeats: int, workers: list[int]) -> list[dict[str, Any]]:
    jobs = {}
    for name, (frames, size, preprocess) in INPUTS.items():
        kept = loader.training_geometry(preprocess, size, None)
        Store(kept, folder).fill(clips, max(workers))
        for case, (cached, how) in CASES.items():
            store = Store(kept, folder if cached else None)
            jobs[name, case] = loader.Clips(
                clips, store, frames, size, Sampling(), Augment.model_validate(how), range(len(clips)), seed=0
            )
    cpu: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    wall: dict[tuple[str, str, int], list[float]] = {(*key, n): [] for key in jobs for n in workers}
    for _ in range(repeats):  # in turns
        for key, job in jobs.items():
            cpu[key].append(rate(job, 0, time.process_time))
            for n in workers:
                wall[*key, n].append(1 / rate(job, n, time.perf_counter))
    return [
        {
            "input": key[0], "case": key[1], "cpu_ms": round(1e3 * median(cpu[key]), 2),
            "clips_s": {str(n): round(max(wall[*key, n]), 1) for n in workers},
        }
        for key in jobs
    ]  # fmt: skip


def tables(results: dict[str, Any]) -> list[Table]:
    workers = list(results["rows"][0]["clips_s"])
    columns = ["input", "clips", "CPU ms a clip", *(f"clips/s, {n} workers" for n in workers)]
    made = Table("Clips for training, without a network", columns)
    made.rows = [
        [row["input"], row["case"], f"{row['cpu_ms']:.2f}", *(f"{row['clips_s'][n]:g}" for n in workers)]
        for row in results["rows"]
    ]
    made.notes.append(f"{results['clips']} clips of {results['data']}; clips/s: the best of {results['repeats']}.")
    made.notes.append(one_line(results["machine"]))
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "data_pipeline.json")
    args = parser.parse_args()
    clips = read(Data(root=str(args.folder)), Path.cwd()).splits["train"]
    clips = clips[:: max(1, len(clips) // args.clips)][: args.clips]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(clips, Path(folder), args.repeats, args.workers)
    results = {
        "benchmark": "data_pipeline", "machine": describe(), "data": args.folder.name, "clips": len(clips),
        "repeats": args.repeats, "rows": rows,
    }  # fmt: skip
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
