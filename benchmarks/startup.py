"""How long one waits: `everyframe --help`, the first prediction of `everyframe predict`, and the size of an install.

    python benchmarks/startup.py
    python benchmarks/startup.py --install .venv-base    also measures that environment's site-packages

`predict` is started like a user would, on a generated video; the clock stops when its first prediction has been read: once with
all prepared, once in an empty cache, where the model is compiled in the background; that has ended before the clock runs again.
Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import networks

from everyframe.benchmarking import Table, describe, one_line

#: the first round prepares all, in the foreground
PREPARED = {"EVERYFRAME_BACKGROUND": "off"}


def command() -> list[str]:
    """The everyframe of this very environment."""
    found = shutil.which("everyframe", path=str(Path(sys.executable).parent))
    return [found] if found else [sys.executable, "-c", "from everyframe.cli.main import run; run()"]


def until_end(arguments: list[str]) -> float:
    """Seconds until the command has ended."""
    begun = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def until_first_line(arguments: list[str], environment: Mapping[str, str] = PREPARED) -> float:
    """Seconds until the first line has arrived; then the command is ended."""
    begun = time.perf_counter()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, env={**os.environ, **environment}, **pipes) as process:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.terminate()
        if not line.startswith("{"):
            raise SystemExit(f"{' '.join(arguments)} predicted nothing:\n{line}{process.stderr.read()}")
    return seconds


def never_run(arguments: list[str]) -> float:
    """The same in an empty cache. What goes on in the background is waited for."""
    with tempfile.TemporaryDirectory() as cache:
        seconds = until_first_line(arguments, {"EVERYFRAME_CACHE": cache})
        while [*Path(cache, "native").glob("*.prepared.lock")]:
            time.sleep(0.1)
    return seconds


def measure(models: list[str], repeats: int) -> list[dict[str, Any]]:
    video, everyframe = str(networks.video()), command()
    cases: list[tuple[str, Callable[[list[str]], float], list[str]]] = [
        ("python -c pass", until_end, [sys.executable, "-c", "pass"]),
        ("import everyframe", until_end, [sys.executable, "-c", "import everyframe"]),
        ("everyframe --help", until_end, [*everyframe, "--help"]),
    ]
    for model in models:
        path = model if model == "builtin" else str(networks.clip_and_step(model)[1])
        arguments = [*everyframe, "predict", path, video, "--json"]
        cases.append((f"everyframe predict {model}: first prediction", until_first_line, arguments))
        cases.append((f"everyframe predict {model}: first prediction, never run before", never_run, arguments))
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for _ in range(repeats + 1):  # in turns; the first round is not counted: it fills the file cache
        for name, wait, arguments in cases:
            seconds[name].append(wait(arguments))
    return [
        {"what": name, "median_s": round(median(times[1:]), 3), "min_s": round(min(times[1:]), 3), "runs": repeats}
        for name, times in seconds.items()
    ]


def install_size(environment: Path) -> dict[str, Any]:
    """Bytes of what is installed in a virtual environment, largest packages first."""
    (site,) = environment.glob("lib/python*/site-packages")
    sizes = {
        entry.name: sum(file.lstat().st_size for file in ([entry] if entry.is_file() else entry.rglob("*")))
        for entry in site.iterdir()
    }
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:6]
    mb = {name: round(sizes[name] / 1e6, 1) for name in largest}
    return {"environment": environment.name, "total_mb": round(sum(sizes.values()) / 1e6, 1), "largest_mb": mb}


def tables(results: dict[str, Any]) -> list[Table]:
    times = Table("Waiting, seconds", ["what", "median", "min"])
    times.rows = [[row["what"], f"{row['median_s']:.2f}", f"{row['min_s']:.2f}"] for row in results["times"]]
    if results["install"]:
        size = results["install"]
        parts = ", ".join(f"{name} {mb:g}" for name, mb in size["largest_mb"].items())
        times.notes.append(f"Installed packages take {size['total_mb']:g} MB: {parts}.")
    times.notes.append(one_line(results["machine"]))
    return [times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["builtin", "x3d_s"])
    parser.add_argument("--install", type=Path, help="a virtual environment whose packages are to be measured")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="3 repeats")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "startup.json")
    args = parser.parse_args()
    results: dict[str, Any] = {
        "benchmark": "startup", "machine": describe(), "times": measure(args.models, 3 if args.quick else args.repeats),
        "install": install_size(args.install) if args.install else None,
    }  # fmt: skip
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
