"""Downloads that cannot succeed, and what is said then."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloads import CONTENT, HALF, OTHER, PATIENT, Progress, Server, files, get, get_telling, item, listening
from everyframe.errors import OutputError, WeightsError
from everyframe.models.checkpoints.fetch import fetch


def failure(call: Callable[[], object]) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        call()
    error = caught.value
    assert error.where and error.got and error.hint, f"every row is filled:\n{error}"
    assert "weights='FILE'" in str(error), "the way around the download"
    return error


def test_wrong_bytes_are_removed(server: Server, tmp_path: Path) -> None:
    server.content = OTHER
    error = failure(lambda: get(server, tmp_path))
    assert error.where == server.url
    assert error.expected == f"sha256 {hashlib.sha256(CONTENT).hexdigest()}"
    assert error.got == f"sha256 {hashlib.sha256(OTHER).hexdigest()}"
    assert files(tmp_path) == []
    server.content = CONTENT
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None], "the wrong bytes were not gone on with"


def test_another_size_is_noticed_before_the_download(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1]
    error = failure(lambda: get(server, tmp_path))
    assert (error.expected, error.got) == (f"{len(CONTENT)} bytes", f"{len(CONTENT) - 1} bytes")
    assert files(tmp_path) == []


def test_more_bytes_than_published_without_an_announced_length(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT + b"x"
    server.plan = [("cut unannounced", None)]
    assert failure(lambda: get(server, tmp_path)).got == "more"
    assert files(tmp_path) == []


def test_a_web_page_is_no_checkpoint(server: Server, tmp_path: Path) -> None:
    server.plan = [("say", {"Content-Type": "text/html; charset=utf-8"})]
    with pytest.raises(WeightsError, match="web page"):
        get(server, tmp_path)
    assert files(tmp_path) == []


def test_404_is_final(server: Server, tmp_path: Path) -> None:
    server.plan = [("status", 404)]
    assert "HTTP 404" in str(failure(lambda: get(server, tmp_path)).got)
    assert len(server.asked) == 1


def test_a_server_that_stays_silent(server: Server, tmp_path: Path, impatient: Progress) -> None:
    server.plan = [("stall", HALF), *[("stall", 0)] * 9]
    error = failure(lambda: get_telling(server, tmp_path, impatient))
    assert "sent nothing for 600 s" in str(error.got)
    assert f"{HALF} bytes are kept" in str(error.got)
    assert len(server.asked) == 4, "one that brought something and three that did not"


def test_nobody_listens(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failure(lambda: fetch(item(f"http://127.0.0.1:{port}/net.pth"), cache=tmp_path))
    assert pauses == [], "a first connection that is refused is not tried again"
    assert "refused" in str(error.got).lower()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/net.pth"])
def test_http_only(url: str, tmp_path: Path) -> None:
    failure(lambda: fetch(item(url), cache=tmp_path))
    assert files(tmp_path) == []


def test_a_redirect_to_something_else_is_not_followed(server: Server, tmp_path: Path) -> None:
    class Redirect(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", server.url if self.path == "/good" else "ftp://127.0.0.1/net.pth")
            self.end_headers()

    with listening(Redirect) as base:
        assert fetch(item(f"{base}/good"), cache=tmp_path, **PATIENT).read_bytes() == CONTENT
        assert "302" in str(failure(lambda: fetch(item(f"{base}/bad"), cache=tmp_path, **PATIENT)).got)


def test_a_page_for_people_is_named(tmp_path: Path) -> None:
    manual = item(None, None, manual=True, page="https://example.org/folder", file="jester_x3d_best.pth")
    with pytest.raises(WeightsError) as caught:
        fetch(manual, cache=tmp_path)
    for told in ("https://example.org/folder", "jester_x3d_best.pth", "--weights FILE", "license: none"):
        assert told in str(caught.value)


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="EVERYFRAME_CACHE"):
        get(server, tmp_path / "file" / "weights")
    assert server.asked == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_a_cache_without_permission(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="EVERYFRAME_CACHE"):
            get(server, tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    wanted = item(server.url)
    (tmp_path / f"{wanted.name}.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="disk is full"):
        fetch(wanted, cache=tmp_path)
