"""Official checkpoints: the table, and downloads from a server on this machine that misbehaves in every known way."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from everyframe import models
from everyframe.errors import OutputError, UsageError, WeightsError
from everyframe.models.checkpoints import published as table
from everyframe.models.checkpoints.fetch import Published, cache_folder, fetch, find, published, read_published_labels
from everyframe.models.checkpoints.progress import bar
from running import TELLS_LOCKS, at_once, started, until

CONTENT = bytes(range(256)) * 1024  # 256 KiB
HALF = len(CONTENT) // 2
OTHER = CONTENT[::-1]
PATIENT: dict[str, Any] = {"timeout_s": 600, "attempts": 3, "pause_s": 0.01}
Progress = Callable[[int, int | None], None]


@dataclass
class Server:
    """Serves `content`. plan: what to do with the first requests, as (action, argument); later ones are answered in full.

    ("cut", n): n bytes of what is due, then the connection ends. ("stall", n): n bytes, then nothing. ("hold", n): n bytes, the
    others when `go` is set.
    ("status", code). ("cut unannounced", n): as "cut", in an answer without a length. ("say", headers): more headers.
    ("range", text): with this Content-Range. careless: it does not look at If-Range.
    """

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"1"'
    ranges: bool = True
    careless: bool = False
    plan: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    done: list[str] = field(default_factory=list)  # the action of each request
    served: int = 0  # bytes
    go: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


def handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            action, argument = server.plan.pop(0) if server.plan else ("all", None)
            server.done.append(action)
            if action == "status":
                return self.send_error(argument)
            start, same = 0, server.careless or self.headers.get("If-Range") == server.etag
            if wanted and server.ranges and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                return self.send_error(416)
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                true = f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
                self.send_header("Content-Range", argument if action == "range" else true)
            if action != "cut unannounced":
                self.send_header("Content-Length", str(len(body)))
            if server.etag:
                self.send_header("ETag", server.etag)
            for name, value in (argument if action == "say" else {}).items():
                self.send_header(name, value)
            self.end_headers()
            due = body[:argument] if action in ("cut", "stall", "cut unannounced") else body
            with contextlib.suppress(OSError):
                server.served += len(due)  # before the client can have it all and look
                first = argument if action == "hold" else len(due)
                self.wfile.write(due[:first])
                if action == "stall":
                    server.stop.wait()
                elif action == "hold":
                    server.go.wait()
                    self.wfile.write(due[first:])
            return None

    return Handler


class Listening(http.server.ThreadingHTTPServer):
    daemon_threads = False  # they have ended when it is closed


@contextlib.contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine."""
    with Listening(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Server()
    with listening(handler(server)) as address:
        server.url = f"{address}/net-0123abcd.pth"
        try:
            yield server
        finally:
            server.go.set()
            server.stop.set()


@pytest.fixture
def impatient(server: Server, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """Told of the progress, it ends the client's patience where the server has stalled at HALF, and only there: on a busy machine
    any server may be silent for a while.
    """
    connected: list[socket.socket] = []
    connect = socket.create_connection

    def remembered(*address: Any, **options: Any) -> socket.socket:
        connected.append(connect(*address, **options))
        return connected[-1]

    def progress(done: int, total: int | None) -> None:
        if done == HALF and server.done[-1] == "stall":
            assert connected[-1].gettimeout() == PATIENT["timeout_s"]
            connected[-1].settimeout(0.01)

    monkeypatch.setattr(socket, "create_connection", remembered)
    return progress


def item(url: str | None, content: bytes | None = CONTENT, **more: Any) -> Published:
    known: dict[str, Any] = {"network": "x3d_s", "tag": "test", "project": "tests", "source": "https://example.org/zoo"}
    if content is not None:
        known |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return Published(**known | {"license": "none", "num_classes": 2, "url": url} | more)


def get(server: Server, cache: Path, content: bytes | None = CONTENT, **more: Any) -> Path:
    return fetch(item(server.url, content, **more), cache=cache, **PATIENT)


def get_telling(server: Server, cache: Path, progress: Progress) -> Path:
    return fetch(item(server.url), cache=cache, progress=progress, **PATIENT)


def files(cache: Path) -> list[str]:
    """What is in the cache besides the lock."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []


# --- the file arrives ---


def test_a_whole_download_is_checked_and_kept(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = get_telling(server, tmp_path / "new" / "folder", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == [path.name], "no part and no note is left"
    assert re.fullmatch(r"x3d_s-test-[0-9a-f]{8}\.pth", path.name)
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_in_the_cache_needs_no_network(server: Server, tmp_path: Path) -> None:
    first = get(server, tmp_path)
    assert get(server, tmp_path) == first
    assert len(server.asked) == 1


def test_a_file_of_another_size_in_the_cache_is_replaced(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path)
    path.write_bytes(CONTENT[:100])
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", HALF), ("cut", 1000)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert server.served == len(CONTENT), "no byte twice"


def test_many_cuts_are_no_failure_as_long_as_each_attempt_brings_something(server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", 10_000)] * 12
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 13


def test_a_stalled_download_goes_on(server: Server, tmp_path: Path, impatient: Progress) -> None:
    server.plan = [("stall", HALF)]
    assert get_telling(server, tmp_path, impatient).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-"]


def test_an_interrupted_download_goes_on_in_the_next_run(server: Server, tmp_path: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        if done >= HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_telling(server, tmp_path, stop)
    (part,) = tmp_path.glob("*.part")
    assert HALF <= part.stat().st_size < len(CONTENT)
    here = part.stat().st_size
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={here}-"]


def test_a_part_that_is_already_whole_is_only_checked(server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", HALF)] + [("cut", 0)] * 3
    with pytest.raises(WeightsError):
        get(server, tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(CONTENT)
    asked = len(server.asked)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == asked


def test_a_cut_without_an_announced_length_is_noticed_by_the_published_size(server: Server, tmp_path: Path) -> None:
    server.plan = [("cut unannounced", HALF)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.plan = [("cut", HALF)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.served == HALF + len(CONTENT)


def test_without_a_validator_nothing_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.etag = None
    server.plan = [("cut", HALF)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


@pytest.mark.parametrize("content", [OTHER, OTHER[: HALF // 2]], ids=["same length", "shorter"])
def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(content: bytes, server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", HALF)] + [("cut", 0)] * 3
    with pytest.raises(WeightsError):
        get(server, tmp_path, None)
    server.content, server.etag = content, '"2"'
    assert get(server, tmp_path, None).read_bytes() == content
    assert server.asked[-1] is not None, "the rest was asked for, the whole was sent"


def test_a_part_longer_than_the_file_starts_again(server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", HALF)] + [("cut", 0)] * 3
    with pytest.raises(WeightsError):
        get(server, tmp_path, None)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(CONTENT + b"more")
    assert get(server, tmp_path, None).read_bytes() == CONTENT


def test_a_careless_server_does_not_mix_two_files(server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", HALF)] + [("cut", 0)] * 3
    with pytest.raises(WeightsError):
        get(server, tmp_path, None)
    server.content, server.etag, server.careless = OTHER, '"2"', True
    assert get(server, tmp_path, None).read_bytes() == OTHER


@pytest.mark.parametrize("told", ["nonsense", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}", f"bytes {HALF}-9/10"])
def test_another_range_than_was_asked_for_is_not_appended(told: str, server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", HALF), ("range", told)]
    assert get(server, tmp_path, None).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-", None]


def test_the_hash_prefix_in_a_file_name_is_enough(server: Server, tmp_path: Path) -> None:
    prefix = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert get(server, tmp_path, None, sha256_prefix=prefix).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match=r"sha256 00000000\.\.\."):
        get(server, tmp_path, None, tag="wrong", sha256_prefix="00000000")


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.plan = [("status", 503), ("status", 429)]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_threads_download_once(server: Server, tmp_path: Path, impatient: Progress) -> None:
    server.plan = [("stall", HALF)]
    found = at_once(lambda _: get_telling(server, tmp_path, impatient), 4)
    assert len(set(found)) == 1
    assert found[0].read_bytes() == CONTENT
    assert server.served == len(CONTENT)


def test_processes_download_once(server: Server, tmp_path: Path) -> None:
    server.plan = [("hold", HALF)]
    script = (
        f"{TELLS_LOCKS}\nfrom pathlib import Path; from everyframe.models.checkpoints.fetch import Published, fetch\n"
        f"print(fetch({item(server.url)!r}, cache=Path({str(tmp_path)!r}), timeout_s=600).name)"
    )
    environment = {**os.environ, "no_proxy": "*"}
    with contextlib.ExitStack() as stack:
        command = (sys.executable, "-c", script, tmp_path)
        running = [stack.enter_context(started(*command, env=environment)) for _ in range(2)]
        until(lambda: len(list(tmp_path.glob("*.locks"))) == 2 or len(server.asked) == 2, *running)
        server.go.set()
        said = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0, 0], said
    (name,) = {out.strip() for out, _ in said}
    assert (tmp_path / name).read_bytes() == CONTENT
    assert server.served == len(CONTENT)


# --- it does not, and the message says why ---


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


# --- where the cache is ---


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "weights"
    monkeypatch.delenv("EVERYFRAME_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for system, folder in (("linux", ".cache"), ("darwin", "Library/Caches")):
        monkeypatch.setattr(sys, "platform", system)
        assert cache_folder() == tmp_path / folder / "everyframe" / "weights"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "everyframe" / "weights"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "everyframe" / "weights"


def test_no_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("x3d_s") as update:
        update(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("x3d_s") as update:
        update(0, None)
        update(1000, 1000)
    out, err = capsys.readouterr()
    assert "x3d_s" in err and not out


# --- the table ---

TABLE = table.table()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.network}-{row.tag}")
def test_a_row_of_the_table(row: Published) -> None:
    assert row.network in models.list()
    assert re.fullmatch(r"[a-z0-9_]+(-[a-z0-9]+)*", row.tag)
    assert (row.url is None) == row.manual == (row.page is not None) == (row.file is not None)
    for url in filter(None, (row.url, row.page, row.source)):
        assert url.startswith("https://")
    assert row.license and row.source
    assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.sha256_prefix is None or re.fullmatch("[0-9a-f]{8,63}", row.sha256_prefix)
    named = re.search(r"-([0-9a-f]{8})\.pth$", row.url or "")
    if named:  # torchvision and MMAction2 put the beginning of the hash into the name
        assert (row.sha256 or row.sha256_prefix or "").startswith(named[1])
    names = row.label_names()
    assert names is None or len(names) == row.num_classes
    entry = models.describe(row.network)
    pre = row.preprocessing(entry.preprocess)
    assert pre.channels == 3 and {key: getattr(pre, key) for key in row.preprocess} == row.preprocess
    assert row.frames is None or row.frames != entry.frames, "only what differs from the network's entry"
    assert 0 < (row.top1 or 1) < (row.top5 or 100) <= 100
    assert (row.top1 is None) == (row.protocol is None), "an accuracy has its protocol"


def test_no_two_rows_are_the_same() -> None:
    assert len({(row.network, row.tag) for row in TABLE}) == len(TABLE)
    assert len({row.name for row in TABLE}) == len(TABLE)
    fetched = [row.url for row in TABLE if row.url]
    assert len(set(fetched)) == len(fetched)


def test_every_network_with_a_reference_project_has_weights() -> None:
    without = {"c3d_bn", "shufflenet3d_v2_0.5x"}  # their projects released none
    ours = {name for name in models.list() if models.describe(name).source == "everyframe"}
    assert set(models.list()) - {row.network for row in TABLE} == without | ours


def test_color_order_follows_the_data_set() -> None:
    for row in TABLE:
        if row.project == "efficient-3dcnns":
            color = row.preprocessing(models.describe(row.network).preprocess).color
            assert color == ("bgr" if row.tag == "kinetics600" else "rgb")


def test_find() -> None:
    row = find("r3d_18", "kinetics400")
    assert row.name.startswith("r3d_18-kinetics400-") and row.name.endswith(".pth")
    assert find("tsm_mobilenet_v2_online", "jester").name.endswith(".pth.tar")
    assert [row.tag for row in published("x3d_s")] == ["kinetics400", "kinetics400-pyslowfast"]
    assert published("c3d_bn") == []
    with pytest.raises(UsageError, match="kinetics400 or kinetics400-pyslowfast"):
        find("x3d_s", "imagenet")
    with pytest.raises(UsageError, match="No published weights of c3d_bn"):
        find("c3d_bn", "kinetics600")
    with pytest.raises(UsageError, match="no network of this name"):
        find("x3d_sss", "kinetics400")


def test_label_lists() -> None:
    sizes = {"kinetics400": 400, "kinetics600": 600, "jester": 27, "ucf101": 101, "hmdb51": 51, "something_v1": 174}
    assert {name: len(read_published_labels(name)) for name in sizes} == sizes
    for name in sizes:
        assert list(read_published_labels(name)) == sorted(read_published_labels(name), key=str.casefold)
    # class numbers that others print: a list that slipped by a line would not agree
    numbers = {"archery": 5, "sharpening knives": 290, "playing flute": 231, "washing feet": 380, "zumba": 399}
    assert {name: read_published_labels("kinetics400").index(name) for name in numbers} == numbers
    assert read_published_labels("jester")[2] == "No gesture"
    with pytest.raises(UsageError, match="kinetics400"):
        read_published_labels("../labels/jester")


# --- from a tag to a clip model ---


def test_a_tag_brings_weights_labels_and_preprocessing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export --weights TAG`: downloaded once, and the file knows labels and how frames must look."""
    torch = pytest.importorskip("torch")
    from everyframe import modelfile
    from everyframe.cli import main

    name = "mobilenet3d_v2_0.2x"
    net = models.create(name, num_classes=27)
    torch.save({"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "w.pth")
    server.content = (tmp_path / "w.pth").read_bytes()
    one = item(
        server.url, server.content, network=name, tag="gestures", num_classes=27, labels="jester", preprocess={"color": "rgb"}
    )
    monkeypatch.setattr(table, "table", lambda: (one,))
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    arguments = ["export", name, "--weights", "gestures", "--frames", "4", "--size", "32", "-o"]
    for path in (tmp_path / "a.onnx", tmp_path / "b.onnx"):
        with pytest.raises(SystemExit) as done:
            main.run([*arguments, str(path)])
        assert not done.value.code, capsys.readouterr().err
    assert len(server.asked) == 1, "the second time it is in the cache"
    metadata = modelfile.metadata_of(modelfile.load(tmp_path / "a.onnx"))
    assert metadata is not None and metadata.labels == read_published_labels("jester")
    assert metadata.preprocess.color == "rgb" and models.describe(name).preprocess.color == "bgr"
    assert metadata.provenance.weights_sha256 == hashlib.sha256(server.content).hexdigest()
    with pytest.raises(SystemExit) as failed:
        main.run([*arguments, str(tmp_path / "c.onnx"), "--num-classes", "27", "--weights", "jester"])
    assert failed.value.code == 2 and "gestures" in capsys.readouterr().err
