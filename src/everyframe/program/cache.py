"""Where things are kept that can be made or fetched again: downloaded weights, compiled models."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """$EVERYFRAME_CACHE/kind, or everyframe/kind in the platform's folder for caches. It need not exist."""
    if own := os.environ.get("EVERYFRAME_CACHE"):
        return Path(own).expanduser() / kind
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "everyframe" / kind
