"""The code of prediction that a bundle's program takes with it: our own modules, copied, so that there is one truth."""

from __future__ import annotations

from pathlib import Path

from everyframe.version import __version__

PACKAGE = Path(__file__).resolve().parents[1]
#: they need av and numpy, and nothing of ours but each other
MODULES = ("errors", *(f"video/{name}" for name in (
    "arrays", "bounds", "boxes", "clock", "container", "decode", "frame", "preprocess", "sampling", "sources", "tags",
)))  # fmt: skip


def copy_video(folder: Path) -> None:
    """Writes the package `video` into `folder`."""
    (folder / "video").mkdir()
    about = f'"""Frames and times as `everyframe predict` has them: copied from everyframe {__version__}."""\n'
    (folder / "video" / "__init__.py").write_text(about, encoding="utf-8")
    for module in MODULES:
        text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
        text = text.replace("everyframe.errors", "video.errors").replace("everyframe.video.", "video.")
        (folder / "video" / f"{module.rpartition('/')[2]}.py").write_text(text, encoding="utf-8")
