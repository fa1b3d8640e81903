"""What all tests share: helpers beside this file (`import handmade`), quick folders first, figures in the summary."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from everyframe.errors import EngineError
from everyframe.native.compilers import compiler
from everyframe.native.target import target

# The same examples on every machine; `pytest --hypothesis-profile=explore` draws new ones. Time is never asserted.
TIMELESS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fixed", derandomize=True, database=None, print_blob=True, **TIMELESS)
settings.register_profile("explore", print_blob=True, **TIMELESS)
settings.load_profile("fixed")

#: the order of the folders: what breaks most things is seen first
ORDER = ("tiny", "unit", "docs", "native", "engines", "laws", "reliability", "packaging")
HERE = Path(__file__).parent
FIGURE = "figure"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds; `-m 'not slow'` leaves it out")
    config.addinivalue_line("markers", "browser: minutes in a real browser; only `-m browser` runs it")
    config.addinivalue_line("markers", "soak: by the hour; only `-m soak` runs it (`make soak`)")


@pytest.fixture(scope="session", autouse=True)
def compiled_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the native engine compiles in a test run is not left in the user's cache, nor taken from there. What zig built of its
    own libraries, which takes it most of a minute, is kept with the environment.
    """
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(Path(sys.prefix) / "zig"))
    before = os.environ.get("EVERYFRAME_CACHE")
    os.environ["EVERYFRAME_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.setdefault("EVERYFRAME_BACKGROUND", "off")
    yield
    if before is None:
        del os.environ["EVERYFRAME_CACHE"]
    else:
        os.environ["EVERYFRAME_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def translations() -> None:
    """torch makes the table of what it can export anew for each network, always the same one: half a second."""
    if {"torch", "onnxscript"} <= sys.modules.keys():
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        made: Any = ONNXRegistry.from_torchlib
        ONNXRegistry.from_torchlib = classmethod(functools.cache(made.__func__))  # type: ignore[assignment]


def pytest_collection_finish() -> None:
    """Garbage is looked for among what tests make, not again and again among all of torch (4 % of a run)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker in ("browser", "soak"):
        if marker not in config.option.markexpr:
            kept = [item for item in items if item.get_closest_marker(marker) is None]
            config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(marker) is not None])
            items[:] = kept

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(HERE).parts[0]
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=place)
    if (missing := _no_compiler()) is not None:
        for item in items:
            if "native" in item.nodeid or "compile.md" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=missing))


def _no_compiler() -> str | None:
    """Why nothing can be compiled here; None if something can."""
    try:
        compiler(target("native"))
    except EngineError as error:
        return f"{error.what} {error.hint}"
    return None


@pytest.fixture
def only_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end with their last epoch: no export, evaluation and report, which take most of the time of tiny ones."""
    from everyframe.training import finish

    def end(run: Any, trained: Any, collection: Any, at: Any, ended: bool, notes: Any = (), **more: Any) -> finish.Result:
        return finish.Result(run.path, at, ended, notes=notes)

    monkeypatch.setattr(finish, "finish", end)


@pytest.fixture
def narrow_r3d_18(monkeypatch: pytest.MonkeyPatch) -> None:
    """r3d_18 of the zoo with fewer channels: quick to export. Skips without torch."""
    pytest.importorskip("torch")
    from everyframe.models.families import resnet_18

    monkeypatch.setattr(resnet_18, "WIDTHS", (64, 16, 16, 16))


@pytest.fixture
def narrow_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large networks of the zoo with all their layers and a tenth of their weights: what streams, and when, does not depend on
    how wide a layer is, and hundreds of megabytes take seconds to be drawn, exported and compared. Skips without torch.
    """
    pytest.importorskip("torch")
    from everyframe.models.families import c3d, c3d_bn, movinet, resnet3d, resnet_18, resnet_video, slowfast, tsm

    for module in (c3d, c3d_bn):
        monkeypatch.setattr(module, "HIDDEN", 256)
    monkeypatch.setattr(movinet, "HIDDEN", 256)
    monkeypatch.setattr(resnet_18, "WIDTHS", (64, 64, 96, 128))
    for module in (resnet_video, slowfast):
        monkeypatch.setattr(module, "INNER", (32, 48, 64, 96))
    monkeypatch.setattr(tsm, "RESNET_50", tuple((inner // 4, *rest) for inner, *rest in tsm.RESNET_50))
    monkeypatch.setattr(tsm.ResNet50, "channels", 512)
    for name, variant in resnet3d.VARIANTS.items():
        monkeypatch.setitem(resnet3d.VARIANTS, name, variant._replace(inner=variant.inner // 4, groups=min(variant.groups, 8)))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all processes of a test run find what one of them exported."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture
def zoo_clip(narrow_zoo: None, shelf: Path) -> Callable[[str, int, int], Any]:
    """(name, frames, size) -> the clip model of a network of `narrow_zoo` with random weights and 10 classes. It is exported by
    the first test that asks for it, which takes a second or two."""
    import onnx

    from everyframe import models
    from helpers import quick_export, randomise

    def made(name: str, frames: int, size: int) -> onnx.ModelProto:
        kept = shelf / f"{name}-{frames}-{size}.onnx"
        if not kept.exists():
            net = randomise(models.create(name, num_classes=10, frames=frames, size=size), seed=1)
            fresh = kept.with_suffix(f".{os.getpid()}")
            onnx.save(quick_export(net, frames, size, models.describe(name).preprocess.channels), fresh)
            fresh.replace(kept)
        return onnx.load(kept)

    return made


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with a line that the run's summary is to show: a measured time or size, for people, never asserted."""
    # a property of the test's report, because the test may run in another process than the summary
    return lambda line: request.node.user_properties.append((FIGURE, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    if lines := list(dict.fromkeys(line for key, line in properties if key == FIGURE)):
        terminalreporter.section("measured here")
        for line in lines:
            terminalreporter.write_line(line)
