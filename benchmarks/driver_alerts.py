"""How soon alerts of a driver model come, and how many come for nothing: on rendered drives, whose spans are known, and on
videos in which nobody drives.

    everyframe render drivers -o drives --count 6 --minutes 4 --seed 11
    python benchmarks/driver_alerts.py driver.onnx --drives drives --nobody VIDEOS

An alert is right within a span of one of the rule's labels, or up to two seconds after it. A span is due if it lasts at least as
long as the rule asks for, and half a second more.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

import everyframe
from everyframe.benchmarking import Table
from everyframe.video import resolve

RULE = "labels=eyes_closed,nodding,looking_away threshold=0.5 seconds=1 quiet=3"
LATE_S = 2.0


def alerts(program: everyframe.Program, rule: everyframe.AlertRule, path: Path) -> tuple[list[float], float]:
    """Seconds of all alerts, and of the video."""
    detector, found, end = everyframe.AlertDetector(rule, program), [], 0.0
    for prediction in program.predict(path):
        end = prediction.pts_s
        if alert := detector.update(prediction):
            found.append(alert.pts_s)
    return found, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--drives", nargs="+", type=Path, required=True, help="folders that `everyframe render --minutes` wrote")
    parser.add_argument("--nobody", nargs="*", type=Path, default=[], help="folders of videos without drivers")
    parser.add_argument("--rule", default=RULE)
    args = parser.parse_args()
    rule = everyframe.AlertRule.read([args.rule])
    made = Table(
        f"Alerts, `{args.rule}`",
        ["model", "videos", "minutes", "due", "alerted", "seconds to it, median", "90 %", "for nothing, an hour"],
    )
    for model in args.models:
        with everyframe.open(model, engine="native", threads=1) as program:
            for folder in (*args.drives, *args.nobody):
                spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
                if (folder / "spans.csv").exists():
                    with (folder / "spans.csv").open(encoding="utf-8") as file:
                        for row in csv.DictReader(file):
                            if row["label"] in rule.labels:
                                spans[row["file"]].append((float(row["start"]), float(row["end"])))
                due, delays, wrong, seconds = 0, [], 0, 0.0
                for path in sorted(path for source in resolve(str(folder)) for path in source.paths):
                    found, end = alerts(program, rule, Path(path))
                    seconds += end
                    there = spans[Path(path).name]
                    wrong += sum(not any(a <= at <= b + LATE_S for a, b in there) for at in found)
                    for a, b in there:
                        first = next((at for at in found if a <= at <= b + LATE_S), None)
                        if b - a >= rule.seconds + 0.5:
                            due += 1
                            delays += [] if first is None else [first - a]
                share = f"{len(delays) / due:.0%}" if due else "–"
                middle, most = (f"{np.percentile(delays, q):.1f}" if delays else "–" for q in (50, 90))
                rate = f"{wrong / seconds * 3600:.1f}" if seconds else "–"
                made.rows.append([model.parent.name, folder.name, f"{seconds / 60:.0f}", due, share, middle, most, rate])
    made.show()


if __name__ == "__main__":
    main()
