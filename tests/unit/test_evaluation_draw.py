"""Pictures of an evaluation: what they name can be read."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from everyframe.canvas import HUES, Canvas
from everyframe.evaluation import draw
from everyframe.evaluation.probe import Probe, ProbeRow


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=200), max_size=20))
def test_all_names_of_a_legend_lie_beside_and_below_each_other_in_the_picture(names: list[str]) -> None:
    measure, ends = Canvas(1, 1), dict[int, float]()
    placed = draw._legend(names)
    assert len(placed) == len(names)
    for (x, y, words), name in zip(placed, names, strict=True):
        assert words == name or (words[-1] == "…" and name.startswith(words[:-1])), "cut only where a row holds no more"
        assert x >= ends.get(y, 0)
        ends[y] = x + 28 + measure.width_of(words, 14)
        assert ends[y] <= draw.WIDTH - draw.END + 1e-6


def test_more_networks_than_there_are_colors_are_all_drawn() -> None:
    """Those whose color was used before are dashed: the picture has more of each color than without them, and is not the same."""
    names = [f"network {n}" for n in range(len(HUES) + 1)]
    made = []
    for some in (names[:-1], names):
        rows = [
            ProbeRow(name, "linear", few, 0.1 + 0.06 * n, 0, 1, 0, 1, (1.0,)) for n, name in enumerate(some) for few in (5, 10)
        ]
        probe = Probe("a", "data", "validation", ("a", "b"), 60, 20, 0.5, dict.fromkeys(some, 96), tuple(rows), 0, len(some))
        made.append(Image.open(io.BytesIO(draw.probed(probe))).convert("RGB"))
    fewer, more = (sum(n for n, color in image.getcolors(1 << 24) if color == HUES[0]) for image in made)
    assert 0 < fewer < more
