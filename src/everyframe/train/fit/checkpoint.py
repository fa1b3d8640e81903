"""Everything that a resumed training needs, in one file that is replaced as a whole."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from everyframe.errors import OutputError, WeightsError

NAME = "checkpoint.pt"


def write(path: Path, data: bytes) -> None:
    """Replaces a file as a whole; what was there before stays if there is no room. Raises OutputError."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            "The run folder cannot be written.", where=path, got=error.strerror,
            hint="make room; `--resume` goes on from the last checkpoint, which is kept",
        ) from None  # fmt: skip


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    write(path, save({key: value.detach().cpu().contiguous() for key, value in state.items()}))


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    import io

    data = io.BytesIO()
    torch.save(state, data)
    write(folder / NAME, data.getvalue())


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """None if there is none. Raises WeightsError where it is damaged."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            "The checkpoint cannot be read.", where=path, got=str(error).splitlines()[0], hint="begin again in another folder"
        ) from None
