"""What all tests share: helpers beside this file (`import handmade`), quick folders first, figures in the summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine; `pytest --hypothesis-profile=explore` draws new ones. Time is never asserted.
settings.register_profile("fixed", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("fixed")

#: the order of the folders: what breaks most things is seen first
ORDER = ("tiny", "unit", "docs", "native", "engines", "laws", "packaging")
HERE = Path(__file__).parent
FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds; `-m 'not slow'` leaves it out")
    config.stash[FIGURES] = []


@pytest.fixture(scope="session", autouse=True)
def compiled_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the native engine compiles in a test run is not left in the user's cache, nor taken from there."""
    before = os.environ.get("EVERYFRAME_CACHE")
    os.environ["EVERYFRAME_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["EVERYFRAME_CACHE"]
    else:
        os.environ["EVERYFRAME_CACHE"] = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(HERE).parts[0]
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with a line that the run's summary is to show: a measured time or size, for people, never asserted."""
    return request.config.stash[FIGURES].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[FIGURES]:
        terminalreporter.section("measured here")
        for line in lines:
            terminalreporter.write_line(line)
