"""Official checkpoints are downloaded from a server on this machine that misbehaves in every known way: the file arrives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path

import pytest

from downloads import CONTENT, HALF, OTHER, Progress, Server, files, get, get_telling, item
from everyframe import models
from everyframe.errors import WeightsError
from everyframe.models.checkpoints import published as table
from everyframe.models.checkpoints.fetch import cache_folder, read_published_labels
from everyframe.models.checkpoints.progress import bar
from running import TELLS_LOCKS, at_once, started, until


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
