"""The page as `everyframe serve` shows it, in Debian's Chromium with a fake camera: it recognizes there, or here; pictures go
out as JPEGs, or as the H.264 of the browser's encoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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


def counts(server: Server) -> tuple[float, float]:
    """Bytes and frames that came so far."""
    lines = dict(
        re.findall(r"^everyframe_serve_(received_bytes|frames_received)_total{.*} (.*)$", server.ask("GET", "/metrics")[1], re.M)
    )
    return float(lines.get("received_bytes", 0)), float(lines.get("frames_received", 0))


@pytest.mark.browser
@pytest.mark.parametrize("place", ["server", "video", "browser"])
def test_a_page_recognizes_there_and_here(
    browser: Any, server: Server, place: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """A video has the events of `predict`, a camera the motions that it films, whichever of both does the work. `video`: there,
    as a coded video.
    """
    counted = counts(server)
    address = f"https://127.0.0.1:{server.port}/#token={server.token}"
    short = cut(tmp_path / "short.mp4", 7.5)
    with opened(browser, address, "Ready.", ignore_https_errors=True) as page:
        assert page.is_visible("#sent")
        if place != "server":
            page.select_option("#place" if place == "browser" else "#sent", place)
            page.wait_for_selector("#status:has-text('Ready.')", timeout=PATIENCE_MS)
        told = page.inner_text(".promise")
        assert ("Nothing leaves" in told) == (place == "browser") and (str(server.port) in told) == (place != "browser")
        same(watched(page, short), predicted(short))
        page.click("#start")
        page.wait_for_selector("text=Looking at", timeout=PATIENCE_MS)
        page.wait_for_selector("#log li:nth-child(2)", timeout=PATIENCE_MS)
        late = page.inner_text("#late")
        page.click("#stop")
        found = [label for label, _ in events(page)]
        assert set(found) <= {label for label, _ in predicted(SAMPLE)} and len(found) >= 2
    size, frames = (now - before for now, before in zip(counts(server), counted, strict=True))
    each = f", {size / frames:,.0f} bytes each" if frames else ""
    figure(f"page, {place}: {size / 1e3:.0f} kB, {frames:.0f} frames{each}; a camera's answered after {late} (median)")
    assert (frames == 0) == (place == "browser")


@pytest.mark.browser
def test_a_page_without_its_token_says_so(browser: Any, server: Server) -> None:
    with browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"https://127.0.0.1:{server.port}/")
        page.wait_for_selector("#status:has-text('wants its token')", timeout=PATIENCE_MS)
