"""The table of measured choices that ships: how this machine computes the convolutions of the zoo's networks best.

    python benchmarks/choices.py                                    all networks, an hour or more
    python benchmarks/choices.py c3d x3d_s --budget 60
    python benchmarks/choices.py --models clip.onnx step.onnx       files instead of networks of the zoo

Networks are exported with random weights, which time does not depend on, as clip and as step models. Rows are added to
src/everyframe/native/measured.jsonl one by one and replace older ones of this processor. AVX2 code that is measured on one
with AVX-512 says so in its rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import everyframe as ef
from everyframe.errors import EveryframeError
from everyframe.native.compile import compile_model
from everyframe.native.target import runs_here
from everyframe.native.tuned import SHIPPED

NETWORKS = (
    "c3d", "r3d_18", "r2plus1d_18", "i3d_r50", "slow_r50", "c2d_r50", "slowfast_r50_4x16", "x3d_s", "x3d_m",
    "tsm_mobilenet_v2",
)  # fmt: skip
CPUS = ("x86-64-v4-vnni", "x86-64-v4", "x86-64-v3", "aarch64")


def exported(names: list[str], folder: Path) -> Iterator[Path]:
    for name in names:
        clip, step = folder / f"{name}.onnx", folder / f"{name}.step.onnx"
        ef.export(name).save(clip)
        yield clip
        with suppress(EveryframeError):  # not every network has a step
            ef.convert(clip).save(step)
            yield step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--models", nargs="+", type=Path, default=())
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for a model and an instruction set")
    here = [name for name in CPUS if runs_here(name)]
    parser.add_argument("--cpu", nargs="+", default=[*here[:1], *(name for name in here if name == "x86-64-v3")])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in asked.models or exported(list(asked.networks), Path(folder)):
            for cpu in dict.fromkeys(asked.cpu):
                made = compile_model(path, cpu=cpu, tune=asked.budget, table=SHIPPED, tables=False)
                for row in made.rows:
                    ratio = row.facts["default_ms"] / row.facts["ms"]
                    print(f"{row.isa:12}{row.facts['ms']:10.4g} ms {ratio:6.2f}x  {row.shape}, {row.kept} %", flush=True)


if __name__ == "__main__":
    main()
