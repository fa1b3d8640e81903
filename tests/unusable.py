"""Paths that no system takes, and that a function refuses them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everyframe.errors import EveryframeError

#: path -> what of it is in the message
UNUSABLE = {"x" * 300: "x" * 255, "a\0b": "NUL", "a_file/x": "a_file", "loop": "loop"}


def refused(function: Callable[..., object], name: str, right: Mapping[str, Any]) -> None:
    """In the current folder. right: the other arguments."""
    Path("a_file").write_text("x")
    with contextlib.suppress(FileExistsError):
        Path("loop").symlink_to("loop")
    for path, said in UNUSABLE.items():
        with pytest.raises(EveryframeError) as told:
            function(**{**right, name: path})
        assert said in str(told.value), (name, path[:20], told.value)
