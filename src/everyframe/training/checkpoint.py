"""Everything that a resumed training needs, in one file that is replaced as a whole."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from everyframe.errors import WeightsError
from everyframe.files import write_bytes

NAME = "checkpoint.pt"


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    write_bytes(save({key: value.detach().cpu().contiguous() for key, value in state.items()}), path)


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Raises OutputError where there is no room; the checkpoint before it is still there then."""
    data = io.BytesIO()
    torch.save(state, data)
    write_bytes(data.getvalue(), folder / NAME)


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
