"""What networks reach that were trained here on real video: the clip beside the stream, longer windows, pretraining, causal
networks beside those that look ahead.

    python benchmarks/train_accuracy.py --data DATA                        # all that is missing; hours on two cores
    python benchmarks/train_accuracy.py --data DATA --cases tsm --seeds 0 1
    python benchmarks/train_accuracy.py --data DATA --cases motionnet x3d x3d_causal movinet movinet_stream motionnet_long
    python benchmarks/train_accuracy.py --tables                           # of the results that are there

DATA holds hand_gestures and ut_interaction, each with train/CLASS/*.mp4 and val/CLASS/*.mp4. Every case is `everyframe train`
with the settings below, and `everyframe evaluate` of what comes out. Finished runs are in the results and are not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networks
import seeds

from everyframe.benchmarking import Table

RUNS = networks.CACHE / "train_accuracy"
COMMON = {"training.threads": 1, "data.workers": 1}  # a run takes one core
GESTURES = {"preprocess.resize": [64, 80], "model.size": [64, 80], **COMMON}
TSM = {
    "model.frames": 8, "preprocess.fps": 7.5, "training.epochs": 26, "training.batch": 8, "optimizer.learning_rate": 1e-3,
    "augment.rotate": 0.0, "augment.speed": 1.0, **COMMON, "training.precision": "f32",  # bf16 makes its 2-D layers no faster
    "preprocess.resize": [48, 64], "model.size": [48, 64],
}  # fmt: skip
PEOPLE = {"preprocess.fps": 10, "model.frames": 16, **GESTURES}
TUNED = {"optimizer.learning_rate": 1.5e-3, "training.epochs": 40, **PEOPLE}
#: so small that a network of 26 blocks learns in minutes of one core
SMALL = {
    "model.frames": 8, "preprocess.fps": 5, "preprocess.resize": [32, 40], "model.size": [32, 40],
    "optimizer.learning_rate": 1e-3, "training.epochs": 20, **COMMON,
}  # fmt: skip
EARLY = {**SMALL, "optimizer.learning_rate": 3e-3, "training.epochs": 40}


@dataclass(frozen=True)
class Case:
    """recipe, settings: of `everyframe train`. start: the case whose weights it begins with. streams: (rate, window) of the step
    networks that are evaluated; window None: the clip's. table: which one it is in.
    """

    what: str
    settings: dict[str, Any]
    data: str = "hand_gestures"
    recipe: str = "quick"
    start: str | None = None
    streams: tuple[tuple[str, int | None], ...] = (("native", None),)
    table: str = ""


#: a window of 30 frames at 15 fps, or 15 at 7.5, is a whole video of hand_gestures; where nothing else is said, 64 x 80 pixels
#: (TSM: 48 x 64, 7.5 frames a second)
CASES = {
    "hop1": Case("motionnet 1.0x, 30 frames", {"model.frames": 30, "training.epochs": 60, **GESTURES}),
    "hop1_16": Case(
        "motionnet 1.0x, 16 frames", {"model.frames": 16, "training.epochs": 60, **GESTURES},
        streams=(("native", 16), ("native", 24), ("native", 30)),
    ),
    "hop16": Case(
        "3D-MobileNetV1 0.5x, 16 frames",
        {"model.name": "mobilenet3d_0.5x", "model.frames": 16, "training.epochs": 80, **GESTURES},
        streams=(("native", None), ("dense", None)),
    ),
    "hop16_32": Case(
        "3D-MobileNetV1 0.5x, 32 frames at 30 a second",
        {
            "model.name": "mobilenet3d_0.5x", "model.frames": 32, "preprocess.fps": 30, "training.epochs": 60, **COMMON,
            "preprocess.resize": [48, 64], "model.size": [48, 64],
        },
        streams=(("native", None), ("dense", None)),
    ),
    "tsm_online": Case(
        "TSM-MobileNetV2, one-way shift", {"model.name": "tsm_mobilenet_v2_online", **TSM},
        streams=(("native", 8), ("native", 15)),
    ),
    "tsm": Case(
        "TSM-MobileNetV2, two-way shift", {"model.name": "tsm_mobilenet_v2", **TSM},
        streams=(("native", 8), ("native", 15)),
    ),
    "people": Case("from scratch", TUNED, "ut_interaction"),
    "people_gestures": Case("from the gesture model", TUNED, "ut_interaction", start="hop1_16"),
    "surrogate": Case(  # of the videos to train on alone
        "surrogate classes", {"training.epochs": 100, "surrogate.seeds": 100, **PEOPLE}, "ut_interaction/train",
        recipe="surrogate", streams=(),
    ),
    "people_surrogate": Case("from surrogate classes", TUNED, "ut_interaction", start="surrogate"),
    "motionnet": Case("`motionnet_1.0x`", {"model.name": "motionnet_1.0x", **SMALL}, table="causal"),
    "x3d": Case("`x3d_xs`", {"model.name": "x3d_xs", **SMALL}, table="causal"),
    "x3d_causal": Case("`x3d_xs`, causal", {"model.name": "x3d_xs", "model.options.causal": "true", **SMALL}, table="causal"),
    "movinet": Case("`movinet_a0`", {"model.name": "movinet_a0", **SMALL}, table="causal"),
    "movinet_stream": Case("`movinet_a0_stream`", {"model.name": "movinet_a0_stream", **SMALL}, table="causal"),
    "motionnet_long": Case(
        "`motionnet_1.0x`", {"model.name": "motionnet_1.0x", **SMALL, "training.epochs": 60}, table="causal"
    ),
    "early": Case("`early3d_mobilenet_0.25x`", {"model.name": "early3d_mobilenet_0.25x", **EARLY}, table="causal"),
    "early_causal": Case(
        "`early3d_mobilenet_0.25x`, causal", {"model.name": "early3d_mobilenet_0.25x", "model.options.causal": "true", **EARLY},
        table="causal",
    ),
}  # fmt: skip


def command(*words: object) -> float:
    """Runs it; its processor time in minutes, that of its workers too."""
    line = ["-m", "everyframe", *map(str, words)]
    print("$", "everyframe", *line[2:], flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *line], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


def train(name: str, seed: int, data: Path) -> Path:
    """The run folder of a case, finished. In it `cpu`: minutes of processor time."""
    case, folder = CASES[name], RUNS / f"{name}-{seed}"
    settings = {**case.settings, "training.seed": seed}
    if case.start:
        settings["model.weights"] = train(case.start, 0, data) / "best.safetensors"
    if not (folder / "step.onnx").exists():
        if (folder / "recipe.toml").exists():
            command("train", "-o", folder, "--resume", "--minutes", 1000)
        else:
            sets = [word for key, value in settings.items() for word in ("--set", f"{key}={_toml(value)}")]
            taken = command("train", case.recipe, "--data", data / case.data, "-o", folder, "--minutes", 1000, *sets)
            (folder / "cpu").write_text(f"{taken:.2f}\n")
    return folder


def _toml(value: Any) -> str:
    return str(value) if isinstance(value, Path) else json.dumps(value)


def measure(name: str, folder: Path, data: Path) -> list[dict[str, Any]]:
    """One entry a stream; the clip figures are in each."""
    found = []
    for rate, window in CASES[name].streams:
        step = folder / f"{rate}_{window}.step.onnx"
        extra = ["--window", window] if window else []
        command("stream", folder / "clip.onnx", "-o", step, "--rate", rate, *extra)
        pair = folder / f"{rate}_{window}"
        pair.mkdir(exist_ok=True)
        (pair / "clip.onnx").write_bytes((folder / "clip.onnx").read_bytes())
        step.rename(pair / "step.onnx")
        evaluate = ["evaluate", pair, "--data", data / CASES[name].data, "--workers", 1]
        command(*evaluate, "-o", pair / "report", "--reverse", "--shuffle", "--freeze-frame")
        row = {"rate": rate, "window": window, **short(json.loads((pair / "report" / "metrics.json").read_text()))}
        if row["delay_ms"]:
            command(*evaluate, "-o", pair / "held", "--flush")
            held = short(json.loads((pair / "held" / "metrics.json").read_text()))["conditions"]["normal"]
            row["held"] = held["end"]
        found.append(row)
    return found


def short(result: dict[str, Any]) -> dict[str, Any]:
    """What the tables need of an evaluation."""
    conditions = {}
    for name, condition in result["conditions"].items():
        streaming, video = condition["streaming"], condition["video"]
        conditions[name] = {
            "clip": condition["clip"]["top1"],
            "video": video["top1"],
            "interval": [video["low"], video["high"]],
            "end": streaming["end"]["top1"],
            "average": streaming["average"]["top1"],
            "frames": (streaming["frames"] or {}).get("top1"),
            "silent": streaming["silent"],
            "curve": [point["top1"] for point in streaming["curve"]],
            "decided": streaming["decided"],
        }
    timing = result["timing"]
    return {
        "videos": result["videos"], "most_frequent": result["most_frequent"], "hop": timing["hop"],
        "delay_ms": timing["feature_delay_ms"], "conditions": conditions,
    }  # fmt: skip


CONTROLS = ("reversed", "shuffled", "frozen")
COLUMNS = (
    "network", "stream", "hop", "delay, ms", "clips", "videos", "stream, end", "held still", "every frame", *CONTROLS, "seeds",
)  # fmt: skip


CAUSAL = (
    "network", "epochs", "delay of a feature, frames", "clips", "videos", "stream, end", "held still", "after 40 %", "70 %",
    "90 %", "right at 5 % wrong", "s until then", "processor minutes", "seeds",
)  # fmt: skip


def tables(results: dict[str, Any]) -> list[Table]:
    return [
        _table(results, "hand_gestures", "Hand gestures, 17 classes, trained from scratch"),
        _table(results, "ut_interaction", "Two people, 7 classes, other sequences than trained on"),
        _causal(results),
    ]


def _causal(results: dict[str, Any]) -> Table:
    """The stream at a video's end and on the way there; what looks ahead answers after it."""
    table = Table("Causal networks and those that look ahead, trained small: top-1 in percent", CAUSAL)
    for name, case in CASES.items():
        runs = list(results.get("runs", {}).get(name, {}).values()) if case.table == "causal" else []
        if not runs:
            continue
        rows = [run["streams"][0] for run in runs]
        normal = [row["conditions"]["normal"] for row in rows]
        decided = [one["decided"] for one in normal]
        table.rows.append([
            case.what, runs[0]["epochs"], round(rows[0]["delay_ms"] * case.settings["preprocess.fps"] / 1000),
            *(seeds.spread([one[key] for one in normal]) for key in ("clip", "video", "end")),
            seeds.spread([row.get("held") for row in rows]),
            *(seeds.spread([one["curve"][at] for one in normal]) for at in (3, 6, 8)),
            seeds.spread([one and one["right"] for one in decided]),
            seeds.spread([one and one["seconds"] for one in decided], 1),
            seeds.spread([run["cpu_minutes"] for run in runs], 1), len(runs),
        ])  # fmt: skip
        table.notes = [
            f"{rows[0]['videos']} videos of 2 s, {rows[0]['most_frequent']:.0%} of them of the most frequent label; the epoch "
            "was chosen on them",
            "after 40, 70, 90 %: of a video; right at 5 % wrong: videos that are decided rightly at the threshold at which 5 % "
            "are decided wrongly, and the median time until then",
            "held still: the last frame is held until a network that looks ahead has seen it",
        ]
    return table


def _table(results: dict[str, Any], data: str, title: str) -> Table:
    table = Table(f"{title}: top-1 in percent", COLUMNS)
    for name, case in CASES.items():
        runs = [run["streams"] for run in results.get("runs", {}).get(name, {}).values()]
        if case.data != data or case.table or not runs or not case.streams:
            continue
        for rows in zip(*runs, strict=True):
            first = rows[0]
            stream = first["rate"] + (f", window {first['window']}" if first["window"] else "")
            table.rows.append([
                case.what, stream, first["hop"], round(first["delay_ms"]),
                *(seeds.spread([row["conditions"]["normal"][key] for row in rows]) for key in ("clip", "video", "end")),
                seeds.spread([row.get("held") for row in rows]),
                seeds.spread([row["conditions"]["normal"]["frames"] for row in rows]),
                *(seeds.spread([row["conditions"][order]["end"] for row in rows]) for order in CONTROLS),
                len(rows),
            ])  # fmt: skip
            table.notes = [
                f"{first['videos']} videos, {first['most_frequent']:.0%} of them of the most frequent label",
                "held still: the last frame is held until a network with delay has seen it; controls are the stream at the end; "
                "± is the spread (s. d.) of several seeds",
            ]
    return table


def todo(results: dict[str, Any], names: list[str], numbers: list[int]) -> Iterator[tuple[str, int]]:
    for seed in numbers:
        for name in names:
            if CASES[name].streams and str(seed) not in results.get("runs", {}).get(name, {}):
                yield name, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tables", action="store_true", help="show what is there")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "train_accuracy.json")
    args = parser.parse_args()
    for name, seed in () if args.tables else todo(seeds.read(args.output), args.cases, args.seeds):
        folder = train(name, seed, args.data)
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        minutes, streams = round(last["seconds"] / 60, 1), measure(name, folder, args.data)
        row = {"epochs": last["epoch"], "minutes": minutes, "streams": streams}
        taken = folder / "cpu"  # not there of a training that was resumed
        row["cpu_minutes"] = float(taken.read_text()) if taken.exists() else None
        seeds.amend(args.output, lambda found: found.setdefault("runs", {}).setdefault(name, {}).update({str(seed): row}))  # noqa: B023
    for table in tables(seeds.read(args.output)):
        table.show()


if __name__ == "__main__":
    main()
