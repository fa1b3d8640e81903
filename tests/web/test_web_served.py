"""The page as `everyframe serve` shows it, in Debian's Chromium with a fake camera: it recognizes there, or here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from web.test_web_browser import FAKE, PATIENCE_MS, SAMPLE, camera, cut, driver, events, opened, predicted, same, watched

pytest.importorskip("fastapi", reason="needs the extra `serve`")
from serving.clients import Server, serving

__all__ = ["driver"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("builtin", "--host", "0.0.0.0", "--tls") as made:
        yield made


@pytest.fixture(scope="module")
def browser(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    film = camera(tmp_path_factory.mktemp("film") / "camera.y4m", 25)
    with driver(*FAKE, f"--use-file-for-fake-video-capture={film}") as made:
        yield made


@pytest.mark.browser
@pytest.mark.parametrize("place", ["server", "browser"])
def test_a_page_recognizes_there_and_here(browser: Any, server: Server, place: str, tmp_path: Path) -> None:
    """A video has the events of `predict`, a camera the motions that it films, whichever of both does the work."""
    address = f"https://127.0.0.1:{server.port}/#token={server.token}"
    short = cut(tmp_path / "short.mp4", 7.5)
    with opened(browser, address, "Ready.", ignore_https_errors=True) as page:
        if place == "browser":
            page.select_option("#place", place)
            page.wait_for_selector("#status:has-text('Ready.')", timeout=PATIENCE_MS)
        told = page.inner_text(".promise")
        assert ("Nothing leaves" in told) == (place == "browser") and (str(server.port) in told) == (place == "server")
        same(watched(page, short), predicted(short))
        page.click("#start")
        page.wait_for_selector("text=Looking at", timeout=PATIENCE_MS)
        page.wait_for_selector("#log li:nth-child(2)", timeout=PATIENCE_MS)
        page.click("#stop")
        found = [label for label, _ in events(page)]
        assert set(found) <= {label for label, _ in predicted(SAMPLE)} and len(found) >= 2


@pytest.mark.browser
def test_a_page_without_its_token_says_so(browser: Any, server: Server) -> None:
    with browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"https://127.0.0.1:{server.port}/")
        page.wait_for_selector("#status:has-text('wants its token')", timeout=PATIENCE_MS)
