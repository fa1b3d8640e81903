"""Teaching in the page, in Debian's Chromium: what a person does with it, and what is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import everyframe
from helpers import shared_dir
from web.test_web_browser import FAKE, PATIENCE_MS, camera, driver, file, opened, same, watched

__all__ = ["driver", "file"]


@pytest.mark.browser
def test_gestures_are_taught_tried_and_saved(driver: Any, file: Path, tmp_path: Path) -> None:
    """From clips and from the camera, with the keyboard: what is saved recognizes the same as the page."""
    root = shared_dir() / "data" / "hand_gestures" / "train"
    probe = sorted((root / "swiping_up").glob("*.mp4"))[7]
    flags = (*FAKE, f"--use-file-for-fake-video-capture={camera(tmp_path / 'camera.y4m', 25)}")
    with driver(*flags) as made, opened(made, file.as_uri()) as page:
        for name in ("swiping up", "cw rotation"):
            page.fill("#name", name)
            page.press("#name", "Enter")
            label = name.replace(" ", "_")
            page.evaluate("document.getElementById('status').textContent = ''")
            page.set_input_files(f"[data-name={label}] input", [str(path) for path in sorted((root / label).glob("*.mp4"))[:5]])
            page.wait_for_selector("text=Looked at 5 clips", timeout=PATIENCE_MS)
        page.click('[data-name=""] .record')
        page.wait_for_selector("text=Recorded: anything but a gesture", timeout=PATIENCE_MS)
        page.fill("#name", "none")
        page.press("#name", "Enter")
        assert page.locator("#gestures li").count() == 3, "none is no gesture"
        page.click("#stop")
        page.click("#learn")
        page.wait_for_selector("text=Try it now", timeout=PATIENCE_MS)
        found = watched(page, probe)
        saved: Callable[[str, str], Path] = lambda button, name: _saved(page, button, tmp_path / name)  # noqa: E731
        model, html = saved("#onnx", "mine.onnx"), saved("#page", "mine.html")
    with everyframe.open(model) as program:
        wanted = [(each.event.label, each.pts_s) for each in program.predict(probe) if each.event]
    assert wanted
    same(found, wanted)
    with driver(*FAKE) as made, opened(made, html.as_uri()) as page:
        assert page.locator("#labels span").all_inner_texts() == ["none", "cw rotation", "swiping up"]
        same(watched(page, probe), wanted)


def _saved(page: Any, button: str, path: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(path)
    return path
