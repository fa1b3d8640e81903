"""What trainings of every task must do."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


def goes_on_to_the_same_weights(
    objective: type, run: ModuleType, recipe: Any, data: Path, path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second validation leaves a model; what is resumed then ends as the run folder `whole`, of three epochs."""
    validate, calls = objective.validate, []  # type: ignore[attr-defined]

    def interrupted(self: Any, net: torch.nn.Module) -> dict[str, float]:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        found: dict[str, float] = validate(self, net)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(objective, "validate", interrupted)
        first = run.start(recipe, path, data=data)
    assert first is not None and not first.ended and (path / "step.onnx").is_file()
    again = run.resume(path)
    assert again is not None and again.ended and again.at.epoch == 3
    for name, value in load_file(path / "last.safetensors").items():
        assert torch.equal(value, load_file(whole / "last.safetensors")[name])
