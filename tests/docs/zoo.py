"""`make zoo`: measures every network of the zoo (or those named) and writes src/everyframe/models/cards/measured.json.

About half an hour for all of them. The difference to the original implementations is measured where the reference cases are
(see tests/golden.py), and kept from the last run where they are not.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import pytest  # noqa: E402
import torch  # noqa: E402
from rich.progress import track  # noqa: E402

import golden  # noqa: E402
from everyframe import models  # noqa: E402
from everyframe.models.cards.card import FILE, dump, parse  # noqa: E402
from everyframe.models.cards.measure import measure, state_floats  # noqa: E402
from unit.test_golden import GOLDEN, difference  # noqa: E402

PATH = ROOT / "src" / "everyframe" / "models" / "cards" / FILE


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    table = parse(PATH.read_text(encoding="utf-8")) if PATH.is_file() else {}
    cases = {network: case for case, (network, _) in GOLDEN.items()}
    for name in track(names, "measuring", transient=True):
        start = time.perf_counter()
        before = table.get(name)
        table[name] = replace(
            measure(models.describe(name)),
            golden=_golden(cases.get(name), before.golden if before else None),
            library=_library(name) or (before.library if before else None),
        )
        PATH.write_text(dump({name: table[name] for name in table if name in models.list()}), encoding="utf-8")
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def _golden(case: str | None, kept: tuple[str, float] | None) -> tuple[str, float] | None:
    try:
        if case is not None and golden.case(case).expected():
            return case, float(f"{difference(case):.1e}")
    except pytest.skip.Exception:
        return kept
    return None


# networks that continual-inference can stream -> the case that holds what its states take
LIBRARY = {"x3d_s": "co_x3d_s", "slow_r50": "co_slow_8", "i3d_r50": "co_i3d_8"}


def _library(name: str) -> tuple[int, int, int, int] | None:
    try:
        spec = golden.case(LIBRARY[name]).spec if name in LIBRARY else None
    except pytest.skip.Exception:
        spec = None
    if spec is None:
        return None
    frames, size = spec["co"]["temporal_window"], spec["inputs"][0]["shape"][-1]
    ours = state_floats(models.describe(name), frames, size)
    return frames, size, ours, spec["co"]["state_floats_at_this_size"]


if __name__ == "__main__":
    main(sys.argv[1:] or models.list())
