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


def clip(path: Path) -> Clip:
    return Clip(path, 0, path.name)


def upright(path: Path, **how: object) -> Path:
    """As a phone held upright writes it: 64 x 48 stored, 48 x 64 shown."""
    handmade.write_video(path, 30, **how)  # type: ignore[arg-type]
    data = path.read_bytes()
    start = data.index(b"tkhd") + 44
    rows = b"".join(v.to_bytes(4, "big", signed=True) for v in (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000))
    path.write_bytes(data[:start] + rows + data[start + 36 :])
    return path


def test_a_picture_is_as_large_as_it_is_shown(tmp_path: Path) -> None:
    found = probe(clip(upright(tmp_path / "v.mp4")))
    assert (found.height, found.width, found.frames, found.fps) == (64, 48, 30, 30.0)


@pytest.mark.parametrize(("name", "codec"), [("v.webm", "libvpx"), ("v.mkv", "libx264")])
def test_frames_are_counted_where_no_duration_is_said(tmp_path: Path, name: str, codec: str) -> None:
    path = handmade.write_video(tmp_path / name, 45, codec=codec, options={"live": "1"})
    with av.open(str(path)) as container:
        assert not container.duration
    found = probe(clip(path))
    assert found.frames == 45
    assert found.fps == pytest.approx(30, rel=0.02)
    assert found.seconds == pytest.approx(1.5, rel=0.02)


def unknown_codec(path: Path) -> Path:
    handmade.write_video(path, 3, codec="libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def test_what_cannot_be_decoded_is_said(tmp_path: Path) -> None:
    error = probe(clip(unknown_codec(tmp_path / "v.mp4"))).error
    assert error is not None
    assert "no decoder" in error and "zzzz" in error and "v.mp4" in error


class TestFitted:
    """The model of a training without a recipe."""

    @pytest.fixture(autouse=True)
    def quick(self) -> None:
        pytest.importorskip("torch")

    def fitted(self, paths: list[Path]) -> tuple[object, tuple[str, ...]]:
        from everyframe.recipes.training import ClipRecipe
        from everyframe.training.quick import fitted

        recipe = recipes.load("quick", ())
        assert isinstance(recipe, ClipRecipe)
        made, notes = fitted(recipe, Collection(("a",), {"train": tuple(map(clip, paths))}))
        assert made.preprocess is not None
        return (made.model.frames, made.model.size, made.preprocess.fps), notes

    def test_one_odd_clip_does_not_set_the_rate_of_all(self, tmp_path: Path) -> None:
        paths = [handmade.write_video(tmp_path / f"{i}.mp4", 60) for i in range(12)]
        paths.append(handmade.write_video(tmp_path / "lapse.mp4", 10, rate=1))
        (frames, size, fps), notes = self.fitted(paths)  # type: ignore[misc]
        assert (frames, size, fps) == (30, (72, 96), 15)
        assert notes == ("1 of 13 clips have a lower rate than the model's 15 fps; their frames are repeated",)

    def test_portrait_clips_make_a_portrait_model(self, tmp_path: Path) -> None:
        (_, size, _), notes = self.fitted([upright(tmp_path / "v.mp4")])  # type: ignore[misc]
        assert size == (96, 72)
        assert not notes

    def test_slow_clips_set_a_slow_rate(self, tmp_path: Path) -> None:
        (_, _, fps), _ = self.fitted([handmade.write_video(tmp_path / f"{i}.mp4", 20, rate=Fraction(10)) for i in range(3)])  # type: ignore[misc]
        assert fps == 10

    def test_clips_without_a_duration_are_as_long_as_they_are(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.webm", 45, codec="libvpx", options={"live": "1"})
        (frames, _, fps), _ = self.fitted([path])  # type: ignore[misc]
        assert frames in (22, 23) and fps == 15
