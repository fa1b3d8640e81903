"""What is known of clips before they are decoded, and what a training without a recipe makes of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

import handmade
from everyframe import recipes
from everyframe.data.clips import Clip, Collection
from everyframe.data.header import probe
from everyframe.errors import SourceError
from everyframe.recipes.training import ClipRecipe


def clip(path: Path) -> Clip:
    return Clip(path, 0, path.name)


def test_a_picture_is_as_large_as_it_is_shown(tmp_path: Path) -> None:
    found = probe(clip(handmade.turned(handmade.write_video(tmp_path / "v.mp4", 30))))
    assert (found.height, found.width, found.frames, found.fps) == (64, 48, 30, 30.0)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("v.webm", "libvpx", {"live": "1"}), ("v.mkv", "libx264", {"live": "1"}), ("v.mkv", "mpeg4", {"live": "1"}),
        ("v.ts", "mpeg2video", {}), ("v.h264", "libx264", {}),
    ],
)  # fmt: skip
def test_frames_are_counted_where_no_duration_is_said(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = handmade.write_video(tmp_path / name, 50, rate=25, codec=codec, options=options)
    with av.open(str(path)) as container:
        assert not container.duration or not container.streams.video[0].frames
    found = probe(clip(path))
    assert (found.error, found.frames, found.fps) == (None, 50, 25)


class TestFitted:
    """The model of a training without a recipe."""

    @pytest.fixture(autouse=True)
    def quick(self) -> None:
        pytest.importorskip("torch")

    def fitted(self, paths: list[Path]) -> tuple[tuple[object, ...], tuple[str, ...]]:
        from everyframe.training.quick import fitted

        recipe = recipes.load("quick", ())
        assert isinstance(recipe, ClipRecipe)
        made, found = fitted(recipe, Collection(("a",), {"train": tuple(map(clip, paths))}))
        assert made.preprocess is not None
        assert made.preprocess.resize == made.model.size
        return (made.model.frames, made.model.size, made.preprocess.fps), found.problems

    def test_one_odd_clip_does_not_set_the_rate_of_all(self, tmp_path: Path) -> None:
        paths = [handmade.write_video(tmp_path / "v.mp4", 60)] * 12
        model, problems = self.fitted([*paths, handmade.write_video(tmp_path / "lapse.mp4", 10, rate=1)])
        assert model == (30, (72, 96), 15)
        assert problems == ("1 of 13 clips have fewer than 15 frames a second (down to 1): theirs are repeated",)

    def test_portrait_clips_make_a_portrait_model(self, tmp_path: Path) -> None:
        (_, size, _), problems = self.fitted([handmade.turned(handmade.write_video(tmp_path / "v.mp4", 10))])
        assert size == (96, 72)
        assert not problems

    @pytest.mark.parametrize("rates", [(10, 10, 10), (10, 30), (10, 10, 30, 30)])
    def test_slow_clips_set_a_slow_rate(self, tmp_path: Path, rates: tuple[int, ...]) -> None:
        paths = [handmade.write_video(tmp_path / f"{rate}.mp4", 20, rate=Fraction(rate)) for rate in rates]
        (_, _, fps), problems = self.fitted(paths)
        assert fps == 10
        assert not problems

    def test_clips_without_a_duration_are_as_long_as_they_are(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.webm", 45, codec="libvpx", options={"live": "1"})
        (frames, _, fps), _ = self.fitted([path])
        assert frames in (22, 23)
        assert fps == 15

    def test_what_cannot_be_decoded_is_named_and_left_out(self, tmp_path: Path) -> None:
        good = handmade.write_video(tmp_path / "a.mp4", 20)
        unknown = tmp_path / "unknown.mp4"
        known = handmade.write_video(tmp_path / "known.mp4", 20, codec="libx264")
        unknown.write_bytes(known.read_bytes().replace(b"avc1", b"zzzz"))
        empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
        empty.write_bytes(b"")
        text.write_text("no video")
        bad = [unknown, empty, text, tmp_path / "none.mp4", tmp_path]
        for path in bad:
            error = probe(clip(path)).error
            assert error, path
            assert str(path) in error
        error = probe(clip(unknown)).error or ""
        assert "no decoder" in error
        assert "zzzz" in error
        (frames, _, _), _ = self.fitted([*bad * 20, good])
        assert frames == 10
        with pytest.raises(SourceError, match=r"None of the clips can be read(.|\n)*decoder"):
            self.fitted(bad)
