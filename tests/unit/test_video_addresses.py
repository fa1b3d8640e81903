"""Addresses: what a web server says the length of is a file, of which no frame is lost; what it does not is a camera."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import handmade
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import Reader, Source, clock, resolve
from everyframe.video.decode import decode

FRAMES = 60


class _Server(http.server.SimpleHTTPRequestHandler):
    """`/file/NAME` is a file, without ranges; `/unasked/NAME` one that is only sent, not told of; `/live/NAME` the same bytes as
    a stream that does not say its end.
    """

    def do_HEAD(self) -> None:
        if self.path.startswith("/unasked"):
            self.send_error(405)
            return
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        _, kind, name = self.path.split("/")
        path = Path(self.directory) / name
        if not path.exists():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        if kind != "live":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError):  # who only asked has gone
                self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Server, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    handmade.write_video(folder / "v.mkv", FRAMES)
    handmade.write_video(folder / "v.mjpeg", FRAMES, codec="mjpeg", pix_fmt="yuvj420p")
    (folder / "ended.m3u8").write_text("#EXTM3U\n#EXT-X-ENDLIST\n")
    (folder / "going.m3u8").write_text("#EXTM3U\n")
    with _serving(folder) as found:
        yield found


@pytest.mark.parametrize("kind", ["file", "unasked"])
def test_a_file_on_a_server_is_read_to_its_end(address: str, kind: str) -> None:
    (source,) = resolve(f"{address}/{kind}/v.mkv")
    assert not source.live
    with Reader(source, Preprocess()) as reader:
        assert [handmade.number_of(frame.data) for frame in reader] == list(range(FRAMES))
        assert reader.dropped == 0


def test_a_stream_without_an_end_is_a_camera(address: str) -> None:
    (source,) = resolve(f"{address}/live/v.mkv")
    assert source.live
    with Reader(source, Preprocess()) as reader, pytest.raises(SourceError, match="live source has ended"):
        for _ in reader:
            pass


def test_a_camera_without_times_is_timed_as_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEGs in a row, as cheap cameras send them: FFmpeg numbers them as if they were 25 a second."""
    path = handmade.write_video(tmp_path / "v.mjpeg", FRAMES, codec="mjpeg", pix_fmt="yuvj420p")
    nanoseconds = itertools.count(step=1_000_000_000 // 10)
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic_ns=lambda: next(nanoseconds)))
    times = []
    with pytest.raises(SourceError, match="live source has ended"):
        for frame in decode(Source("address", "camera", (str(path),))):
            times.append(frame.pts)
    assert times == [Fraction(n, 10) for n in range(FRAMES)]


def test_a_file_without_times_says_what_is_assumed(address: str) -> None:
    said: list[str] = []
    times = [frame.pts for frame in decode(resolve(f"{address}/file/v.mjpeg")[0], note=said.append)]
    assert times == [Fraction(n, 25) for n in range(FRAMES)]
    assert len(said) == 1 and "no times" in said[0] and "25 a second" in said[0]


def test_what_is_not_there_is_said(address: str) -> None:
    (source,) = resolve(f"{address}/file/nothing.mp4")
    with Reader(source, Preprocess()) as reader, pytest.raises(SourceError, match=r"404(.|\n)*check the address"):
        next(reader)


def test_an_address_of_a_file_is_the_file(tmp_path: Path) -> None:
    path = handmade.write_video(tmp_path / "a b.mkv", 3)
    assert resolve(path.as_uri()) == resolve(path)
    assert "%20" in path.as_uri()


def test_a_playlist_says_whether_it_ends(address: str) -> None:
    assert [resolve(f"{address}/file/{name}.m3u8")[0].live for name in ("ended", "going")] == [False, True]
