"""What is planted is told: an odd frame rate, an empty class, a clip twice, a damaged file; and nothing else is."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import handmade
from everyframe.data import check, surrogate
from everyframe.data.cache import Store
from everyframe.data.clips import Clip, Collection, folder_clip
from everyframe.data.formats import read
from everyframe.data.header import Header
from everyframe.errors import RecipeError
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import Data

LABELS = ("clap", "wave", "other")


def noise(seed: int, height: int = 32, width: int = 48, still: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 256, (height, width, 3), np.uint8)
    return [first if still else rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(8)]


def make(folder: Path, label: int, number: int, **how: int) -> Clip:
    rate = how.pop("rate", 30)
    frames = how.pop("frames", 8)
    pictures = (noise(100 * label + number, **how) * 3)[:frames]  # type: ignore[arg-type]
    path = handmade.write_video(folder / f"{LABELS[label]}{number}.mp4", pictures, rate=Fraction(rate))
    return Clip(path, label, path.name)


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("even")
    rows = [make(folder, label, number, frames=8 + number % 3) for label in range(3) for number in range(14)]
    train, validation = [c for i, c in enumerate(rows) if i % 14 < 11], [c for i, c in enumerate(rows) if i % 14 >= 11]
    return Collection(LABELS, {"train": tuple(train), "validation": tuple(validation)})


def changed(found: Collection, train: list[Clip], labels: tuple[str, ...] | None = None) -> Collection:
    return Collection(labels or found.labels, {"train": tuple(train), "validation": found.splits["validation"]})


def words(found: check.Report) -> str:
    return "\n".join(finding.what for finding in found.findings)


def test_even_clips_are_fine(even: Collection) -> None:
    made = check.report(even)
    assert not made.findings
    assert not made.leaks
    assert made.splits == {"train": 33, "validation": 9}
    assert made.classes["wave"] == {"train": 11, "validation": 3}
    assert made.rates == {"30": 42}
    assert made.sizes == {"48x32": 42}
    assert made.frames == (8, 9, 10)


@pytest.mark.parametrize(
    ("how", "what"), [({"rate": 20}, "frame rate"), ({"frames": 24}, "length"), ({"height": 48, "width": 32}, "picture size")]
)
def test_what_tells_a_class_is_told(tmp_path: Path, even: Collection, how: dict[str, int], what: str) -> None:
    others = [make(tmp_path, 2, number, **how) for number in range(11)]
    made = check.report(changed(even, [*(c for c in even.splits["train"] if c.label != 2), *others]))
    leaks = {leak.what: leak for leak in made.leaks}
    assert what in leaks
    assert leaks[what].detail.startswith("other ")
    assert set(leaks) <= {what, "length"}  # a slower rate makes the same frames last longer
    assert leaks[what].share > 0.1


def test_empty_and_tiny_classes_and_those_without_validation(even: Collection) -> None:
    few = [c for c in even.splits["train"] if c.label == 0 or c.name.endswith(("wave1.mp4", "wave2.mp4"))]
    said = words(check.report(changed(even, few, ("clap", "wave", "other", "new"))))
    assert "No clips to learn from: other, new" in said
    assert "Fewer than 10 clips to learn from: wave (2)" in said
    without = Collection(LABELS, {"train": even.splits["train"], "validation": even.splits["validation"][:6]})
    assert "No clips to validate with: other" in words(check.report(without))


def test_a_clip_in_both_splits_under_another_name(tmp_path: Path, even: Collection) -> None:
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(even.splits["validation"][0].path.read_bytes())
    made = check.report(changed(even, [*even.splits["train"], Clip(copy, 1, "renamed"), even.splits["train"][0]]))
    said = words(made)
    assert "1 clips are in more than one split" in said
    assert "renamed" in said
    assert "1 clips have more than one label" in said
    assert "1 clips are there more than once" in said


def test_parts_of_one_file_are_different_clips(even: Collection) -> None:
    clip = even.splits["train"][0]
    parts = [Clip(clip.path, 0, f"{i}", span=(i / 10, i / 10 + 0.1)) for i in range(2)]
    assert "more than" not in words(check.report(changed(even, [*even.splits["train"], *parts])))


def test_broken_clips_are_named_whatever_the_number_of_workers(tmp_path: Path, even: Collection) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    bad = [Clip(tmp_path / "bad.mp4", 0, "bad"), Clip(tmp_path / "none.mp4", 0, "none")]
    found = changed(even, [*even.splits["train"], *bad])
    made = [check.report(found, workers) for workers in (0, 2)]
    assert made[0] == made[1]
    assert [name in line for name, line in zip(("bad.mp4", "none.mp4"), made[0].broken, strict=True)] == [True, True]
    assert made[0].splits["train"] == 33


def test_sides_are_proposed(even: Collection) -> None:
    made = check.report(changed(even, list(even.splits["train"]), ("swipe_left", "swipe_right", "turn_left")))
    assert made.mirrored == [("swipe_left", "swipe_right")]
    hints = [finding.hint for finding in made.findings]
    assert any('swap = [["swipe_left", "swipe_right"]]' in hint for hint in hints)
    assert any("do not use" in hint for hint in hints)


JESTER = ("Swiping Left", "swiping_right", "Zooming In With Full Hand", "No gesture")


@pytest.mark.parametrize("rate", [20.0, 25.0, 10.0])
def test_a_rate_that_a_published_set_was_not_taken_with_is_told_with_what_mends_it(rate: float) -> None:
    headers = [Header(37, rate), Header(37, 12.0), Header(37, None)]
    (found,) = check.restamped(JESTER, headers)
    assert "Jester" in found.what and f"1 of 3 clips say another rate, most of these {rate:g}" in found.what
    factor = float(found.hint.split("-itsscale ")[1].split()[0])
    assert rate / factor == pytest.approx(12, rel=1e-4)
    assert check.restamped(["Putting [something] onto [something]", "Folding something", "Moving something up"], headers)


@pytest.mark.parametrize(
    ("labels", "rate"),
    [(JESTER, 12.0), (JESTER, 12.5), (JESTER, None), (("swipe_left", "wave", "stop"), 20.0), (JESTER[:2], 20.0)],
)
def test_nothing_is_said_of_other_rates_and_labels(labels: tuple[str, ...], rate: float | None) -> None:
    assert not check.restamped(labels, [Header(37, rate)] * 5)


def test_people_and_programs_are_told_the_same(even: Collection) -> None:
    made = check.report(Collection(("a", "b", "left"), even.splits, ("somewhere: missing",)))
    shown = Console(file=io.StringIO(), width=100)
    check.render(made, shown)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    for part in ("3 classes", "█", "somewhere: missing", "48x32 (42)", *(finding.what for finding in made.findings)):
        assert part in text
    assert json.loads(json.dumps(made.to_dict()))["classes"]["a"] == {"train": 11, "validation": 3}


def test_the_rate_of_real_clips_gives_their_class_away() -> None:
    root = Path(__file__).resolve().parents[3] / "shared/data/ut_interaction"
    if not root.is_dir():
        pytest.skip(f"no clips in {root}")
    made = check.report(read(Data(root=str(root)), Path()))
    (rate,) = [leak for leak in made.leaks if leak.what == "frame rate"]
    assert rate.detail.startswith("other 20 fps (100%)")


class TestSurrogate:
    def test_seeds_are_where_most_moves(self, tmp_path: Path) -> None:
        moving, still = noise(1, 32, 32), noise(2, 32, 32, still=True)
        path = handmade.write_video(tmp_path / "v.mkv", [*still * 2, *moving * 2, *still * 2], rate=10, codec="ffv1")
        cuts = handmade.write_video(tmp_path / "cuts.mkv", [*still * 3, *noise(3, 32, 32, still=True) * 3], rate=10, codec="ffv1")
        clips = [Clip(path, 5, "v"), Clip(cuts, 5, "cuts"), Clip(tmp_path / "none.mp4", 0, "none")]
        found = surrogate.seeds(clips, 1, 4, Preprocess(fps=10))
        (seed,) = found.splits["train"]
        assert (seed.path, seed.label) == (path, 0)
        assert seed.span is not None
        assert 1.5 <= seed.span[0] < seed.span[1] <= 3.4
        assert len(found.problems) == 1

    def test_seeds_of_pictures_are_pictures(self, tmp_path: Path) -> None:
        from PIL import Image

        for i, frame in enumerate([*noise(2, still=True), *noise(1), *noise(2, still=True)]):
            Image.fromarray(frame).save(tmp_path / f"{i:03d}.png")
        clip = folder_clip(tmp_path, 0, "p")
        (seed,) = surrogate.seeds([clip], 1, 4, Preprocess(fps=10)).splits["train"]
        assert (seed.count, seed.span) == (6, None)
        assert 6 <= seed.first <= 12

    def test_backwards_is_a_class_of_its_own(self, tmp_path: Path) -> None:
        clip = make(tmp_path, 0, 1, frames=24, rate=10)
        found = surrogate.seeds([clip], 2, 4, Preprocess(fps=10), backwards=True)
        seeds = found.splits["train"]
        assert [seed.label for seed in seeds] == [0, 1, 2, 3] and len(set(found.labels)) == 4
        for folder in (None, tmp_path / "cache"):
            store = Store(Preprocess(), folder)
            for one, turned in zip(seeds[:2], seeds[2:], strict=True):
                assert not one.backwards and turned.backwards
                assert np.array_equal(store.frames(one), store.frames(turned)[::-1])
                some = lambda count: np.array([0, 2, count - 1])  # noqa: E731
                assert np.array_equal(store.frames(one, some), store.frames(turned, some)[::-1])

    def test_a_video_with_room_for_one_clip_is_one_place(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mkv", noise(1, 32, 32), rate=10, codec="ffv1")  # 8 frames
        for frames, places in ((7, 1), (8, 1), (9, 0)):
            if places:
                (seed,) = surrogate.seeds([Clip(path, 0, "v")], 1, frames, Preprocess(fps=10)).splits["train"]
                assert seed.span == (0.0, pytest.approx(0.8))
            else:
                with pytest.raises(RecipeError, match="at most 0"):
                    surrogate.seeds([Clip(path, 0, "v")], 1, frames, Preprocess(fps=10))

    def test_too_few_places(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 20)
        with pytest.raises(RecipeError, match=r"surrogate\.seeds"):
            surrogate.seeds([Clip(path, 0, "v")], 50, 4, Preprocess())
