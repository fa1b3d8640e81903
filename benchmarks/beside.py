"""What is prepared in the background, and the latency of a stream meanwhile, on a machine that has other work.

    python benchmarks/beside.py --seconds 300 --busy 2

A stream of X3D-S on ONNX Runtime takes 15 frames a second, beside `--busy` loops that never rest. Another model is compiled and
tuned in the background as at its first run. In turns of five seconds, drawn at random, that is stopped, runs as it does for its
first two minutes, or as after them. Counted is from when a frame was due to its answer; a frame that comes late delays
the next one, so that a pause counts once. Writes benchmarks/results/beside.json.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import networks
import numpy as np

import everyframe
from everyframe.benchmarking import Table, describe, one_line, save
from everyframe.modelfile.file import load
from everyframe.runtime.background import SETTING, _Waiting

FPS, TURN_S, SETTLES_S = 15, 5.0, 0.3
#: the niceness of the process's session; None: it is stopped
TURNS = {"stopped": None, "first two minutes": "19", "after them": "10"}


def session(pid: int) -> dict[int, float]:
    """Processes of a session, and the processor time of each."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            facts = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(facts[3]) == pid:
                found[int(folder.name)] = (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")
    return found


def tell(pid: int, number: int) -> None:
    for each in session(pid):
        with suppress(OSError):
            os.kill(each, number)


def measure(seconds: float, prepared: Path, streamed: Path) -> list[dict[str, Any]]:
    everyframe.open(prepared)
    (process,) = [thread.process for thread in threading.enumerate() if isinstance(thread, _Waiting)]
    assert process is not None
    run = everyframe.open(streamed, engine="ort", threads=1).start()
    (shape,) = [
        [d.dim_value for d in each.type.tensor_type.shape.dim] for each in load(streamed).graph.input if each.name == "frames"
    ]
    frame = np.random.default_rng(0).standard_normal(shape, np.float32)
    waited: dict[str, list[float]] = {name: [] for name in TURNS}
    spent, order, turns = dict.fromkeys(TURNS, 0.0), list[str](), random.Random(0)
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < seconds:
            order = order or turns.sample([*TURNS], len(TURNS))
            name = order.pop()
            if TURNS[name] is None:
                tell(process.pid, signal.SIGSTOP)
            else:
                Path(f"/proc/{process.pid}/autogroup").write_text(str(TURNS[name]))
                tell(process.pid, signal.SIGCONT)
            before, due = sum(session(process.pid).values()), time.monotonic()
            settled, end = due + SETTLES_S, due + TURN_S
            while due < end:
                due = max(due + 1 / FPS, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
                run.step(frame)
                if due > settled:
                    waited[name].append(1e3 * (time.monotonic() - due))
            spent[name] += max(0.0, sum(session(process.pid).values()) - before)
            if process.poll() is not None:
                raise SystemExit("what goes on in the background has ended: ask for fewer --seconds")
    finally:
        tell(process.pid, signal.SIGKILL)
    return [
        {"background": name, "frames": len(ms), "background_cpu_s": round(spent[name], 1)}
        | {f"p{p:g}_ms": round(float(np.percentile(ms, p)), 1) for p in (50, 90, 99, 99.9)}
        for name, ms in waited.items()
    ]  # fmt: skip


def table(results: dict[str, Any]) -> Table:
    made = Table(
        f"From due to answered, ms, beside {results['busy']} loops",
        ["background", "frames", "50 %", "90 %", "99 %", "99.9 %", "its CPU s"],
    )
    made.rows = [
        [str(row[key]) for key in ("background", "frames", "p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "background_cpu_s")]
        for row in results["rows"]
    ]
    made.notes.append(one_line(results["machine"]) + f", {results['load']:.1f} during it")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--busy", type=int, default=2, help="loops that never rest")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "beside.json")
    args = parser.parse_args()
    prepared, streamed = (networks.clip_and_step(name)[1] for name in ("slow_r50", "x3d_s"))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(args.busy)]
    try:
        with tempfile.TemporaryDirectory() as cache:
            os.environ |= {"EVERYFRAME_CACHE": cache, SETTING: "600"}
            machine = describe("onnxruntime")
            rows = measure(args.seconds, prepared, streamed)
    finally:
        for each in busy:
            each.kill()
    results = {"benchmark": "beside", "machine": machine, "busy": args.busy, "load": os.getloadavg()[0], "rows": rows}
    table(results).show()
    print(f"wrote {save(args.output, results)}")


if __name__ == "__main__":
    main()
