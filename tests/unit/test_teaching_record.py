"""Recording examples: clips as planned, kept whatever ends it, impossible names."""

from __future__ import annotations

from pathlib import Path

import pytest

from everyframe.errors import UsageError
from everyframe.teaching.record import RecordingPlan, record
from everyframe.video import resolve
from everyframe.video.decode import decode
from handmade import write_video


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file stands in for the camera: 12 s at 10 frames a second."""
    return write_video(tmp_path_factory.mktemp("camera") / "camera.mp4", 120, rate=10)


class TestRecording:
    def test_clips_are_what_the_plan_says(self, camera: Path, tmp_path: Path) -> None:
        said: list[str] = []
        plan = RecordingPlan(("a", "b"), "none", count=2, seconds=1.0, countdown=1, pause=2.0, short_side=48)
        made = record(str(camera), tmp_path / "clips", plan, said.append)
        assert [str(p.relative_to(tmp_path / "clips")) for p in made] == [
            "a/001.mp4", "a/002.mp4", "b/001.mp4", "b/002.mp4", "none/001.mp4"
        ]  # fmt: skip
        assert said[:2] == ["gesture 'a', example 1 of 2: in 1", "gesture 'a', example 1 of 2: go"]
        for path, seconds in zip(made, (1, 1, 1, 1, 2), strict=True):
            times = [float(frame.pts) for frame in decode(resolve(path)[0])]
            assert times[-1] == pytest.approx(seconds, abs=0.02) and len(times) == seconds * 10 + 1
        again = record(str(camera), tmp_path / "clips", RecordingPlan(("a",), "none", count=1, seconds=1.0, pause=0), said.append)
        assert again[0].name == "003.mp4", "numbered on"

    def test_what_was_recorded_is_kept_when_it_ends(self, camera: Path, tmp_path: Path) -> None:
        said: list[str] = []
        made = record(
            str(camera), tmp_path, RecordingPlan(("a",), "none", count=9, seconds=2.0, countdown=1, pause=0), said.append
        )
        assert 0 < len(made) < 9 and "is over" in said[-1]

        def interrupted(text: str) -> None:
            if "example 3" in text:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            record(str(camera), tmp_path / "again", RecordingPlan(("a",), "none", count=9, seconds=1.0, countdown=1), interrupted)
        assert len(list((tmp_path / "again" / "a").glob("*.mp4"))) == 2

    @pytest.mark.parametrize("names", [(), ("none",), ("a", "a"), ("a/b",), ("",), (".x",)])
    def test_impossible_names_are_refused_before_anything(self, names: tuple[str, ...], camera: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            record(str(camera), tmp_path / "clips", RecordingPlan(names, "none"), print)
        assert not list(tmp_path.iterdir())
