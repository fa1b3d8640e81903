"""Names, codecs and contents that are no fault of the user: opened, or refused for the right reason."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import handmade
from everyframe.data.clips import Clip
from everyframe.data.decode import pictures
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import Reader, resolve


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return handmade.write_video(tmp_path_factory.mktemp("v") / "v.mp4", 3).read_bytes()


def read(path: Path | str, how: Preprocess | None = None) -> list[np.ndarray]:
    with Reader(resolve(path)[0], how or Preprocess()) as frames:
        return [frame.data for frame in frames]


@pytest.mark.parametrize(
    "name", ["2024-11-14T22:57:44.mp4", "clip:1.mp4", "http:x.mp4", "file:x.mp4", "pipe:1.mp4", "a%03d.mp4", "-x.mp4"]
)
@pytest.mark.parametrize("relative", [False, True])
def test_file_names_that_look_like_something_else(
    tmp_path: Path, video: bytes, name: str, relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(video)
    assert len(read(name if relative else tmp_path / name)) == 3


@pytest.mark.parametrize("name", ["frame:1.png", "http:1.jpg", "50%d.png"])
def test_names_of_pictures(tmp_path: Path, name: str) -> None:
    Image.fromarray(handmade.stamped(0)).save(tmp_path / name)
    assert len(read(tmp_path)) == 1


def test_what_macos_puts_beside_a_video_is_none(tmp_path: Path, video: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(video)
    (tmp_path / "._clip.mp4").write_bytes(b"\0\5\26\7")
    (tmp_path / ".hidden.mp4").write_bytes(video)
    assert [s.name for s in resolve(tmp_path)] == ["clip.mp4"]


def without_decoder(path: Path) -> Path:
    handmade.write_video(path, 3, codec="libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def encrypted(path: Path) -> Path:
    key = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    return handmade.write_video(path, 10, codec="libx264", options=key)


def animated(path: Path) -> Path:
    first, second = (Image.fromarray(handmade.stamped(i)) for i in (1, 2))
    first.save(path.with_suffix(".webp"), save_all=True, append_images=[second])
    return path.with_suffix(".webp")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_decoder, r"no decoder for this video(.|\n)*codec zzzz(.|\n)*convert"),
        (encrypted, r"is encrypted(.|\n)*key"),
        (animated, r"Animated WebP(.|\n)*convert"),
    ],
)
def test_what_is_whole_but_cannot_be_decoded(tmp_path: Path, make: object, message: str) -> None:
    path = make(tmp_path / "v.mp4")  # type: ignore[operator]
    with pytest.raises(SourceError, match=message) as caught:
        read(path)
    assert "record" not in str(caught.value)
    with pytest.raises(SourceError, match=message):
        pictures(Clip(path, 0, "v"), Preprocess(resize=(24, 32)))


def changing(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """MPEG-TS whose picture size changes, as a camera that is turned or a broadcast does."""
    parts = []
    for number, (height, width) in enumerate(sizes):
        part = path.with_name(f"{number}.ts")
        handmade.write_video(part, [handmade.picture(60 * (number + 1), height, width)] * 10, rate=25, codec="libx264")
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def test_a_size_that_changes_is_followed(tmp_path: Path) -> None:
    path = changing(tmp_path / "v.ts", [(48, 64), (64, 48), (96, 128)])
    got = read(path, Preprocess(resize=(24, 32)))
    assert {frame.shape for frame in got} == {(24, 32, 3)}
    assert [round(float(frame.mean()) / 60) for frame in got] == [1] * 10 + [2] * 10 + [3] * 10
    assert len(pictures(Clip(path, 0, "v"), Preprocess(resize=(24, 32), fps=25))) == 30
    assert {frame.shape for frame in read(path)} == {(48, 64, 3), (64, 48, 3), (96, 128, 3)}


def test_a_stream_that_is_announced_but_empty(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(SourceError):
        read(tmp_path / "v.mp4")


def test_a_size_that_no_picture_has(tmp_path: Path) -> None:
    """FFmpeg calls that `busy`, as it does a camera."""
    (tmp_path / "v.y4m").write_bytes(b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n" + bytes(99))
    with pytest.raises(SourceError, match=r"beginning is damaged"):
        read(tmp_path / "v.y4m")
