"""Detectors on the same scans: average precision with its interval, and how far each is from the first, scan by scan.

    everyframe render scenes -o fresh --count 1600 --seed 20777      # a seed that no training saw
    python benchmarks/detectors.py runs/detect runs/half --data fresh

AP as KITTI computes it (R40, moderate), in percent. Intervals hold 95 % of what comes out when as many scans are drawn again with
replacement; for a difference the same scans are drawn of both, so it is told much better than either.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from everyframe.benchmarking import Table
from everyframe.data.scans.kitti import find
from everyframe.progress import bar
from everyframe.tasks.detection import metrics
from everyframe.tasks.detection.detector import Detector
from everyframe.tasks.detection.evaluate import LEAST, MEASURED, answers
from everyframe.tasks.which import deployed


def text(value: float, drawn: np.ndarray) -> str:
    low, high = np.percentile(drawn[~np.isnan(drawn)], (2.5, 97.5))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def precisions(model: str, folder: Path, split: str | None) -> dict[tuple[str, str], tuple[float, np.ndarray]]:
    """(class or mean, space) -> AP, and (R,) of scans that are drawn again."""
    scans = find(folder, split)
    with Detector(deployed(model), engine="ort", threads=1, threshold=LEAST) as detector, bar(f"{model}: scans") as progress:
        truth, found, skipped = answers(detector, scans, progress=progress)
        classes = detector.classes
    if skipped:
        raise SystemExit(f"{len(skipped)} scans cannot be measured: {skipped[0]}")
    times, made = metrics.drawn(len(truth)), {}
    for space in MEASURED:
        for name in classes:
            ranked = metrics.ranking(truth, found, name, "moderate", space)
            made[name, space] = 100 * metrics.precision(ranked).r40, 100 * metrics.drawn_precision(ranked, times)
        each = [made[name, space] for name in classes]
        made["mean", space] = float(np.mean([value for value, _ in each])), np.mean([drawn for _, drawn in each], 0)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="run folders, or .onnx files; the first is what others are compared with")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    args = parser.parse_args()
    found = {model: precisions(model, args.data, args.split) for model in args.models}
    first = found[args.models[0]]
    made = Table(
        f"{args.data}", ["model", "of", *(f"{space}{what}" for space in MEASURED for what in ("", ", beyond the first"))]
    )
    for model, each in found.items():
        for name in dict.fromkeys(name for name, _ in each):
            cells = []
            for space in MEASURED:
                (value, drawn), (own, its) = each[name, space], first[name, space]
                cells += [text(value, drawn), "" if each is first else text(value - own, drawn - its)]
            made.rows.append([model, name, *cells])
    print("\n" + made.markdown())


if __name__ == "__main__":
    main()
