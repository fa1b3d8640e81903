"""Targets that are engines of ours: what they take is asked of their own code instead of being written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx

from everyframe.devices.profile import Entry, Profile
from everyframe.errors import EveryframeError


@dataclass(frozen=True)
class Refusal:
    where: str
    why: str


def entries(profile: Profile) -> dict[str, tuple[Entry, ...]]:
    """Operator -> its entries."""
    if profile.engine is not None:
        entry = Entry(ops=OPERATORS[profile.engine](), source=f"{profile.title}: its own code")
        return dict.fromkeys(entry.ops, (entry,))
    return {op: profile.entries(op) for op in {op for entry in profile.operators for op in entry.ops}}


def refusal(model: onnx.ModelProto, profile: Profile) -> Refusal | None:
    """Why the engine does not take a model whose operators it knows; None if it does, or if the target is no engine."""
    if profile.engine is None:
        return None
    try:
        REFUSALS[profile.engine](model)
    except EveryframeError as error:
        return Refusal(str(error.where or ""), " ".join(str(part) for part in (error.what, error.got) if part))
    return None


@cache
def _native_operators() -> tuple[str, ...]:
    from everyframe.native.evaluate import operators

    return operators()


def _native(model: onnx.ModelProto) -> None:
    from everyframe.modelfile.file import metadata_of
    from everyframe.modelfile.fold import fold
    from everyframe.native.trace import trace

    metadata = metadata_of(model)
    states = metadata.states if metadata else ()
    trace(model if states else fold(model), states)


@cache
def _onnxruntime_operators() -> tuple[str, ...]:
    """Those that it has a kernel for, and those that ONNX defines by others."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels = {k.op_name for k in state.get_all_opkernel_def() if k.provider == "CPUExecutionProvider"}
    schemas: Any = onnx.defs.get_all_schemas()
    composed = {s.name for s in schemas if s.has_function or s.has_context_dependent_function}
    return tuple(sorted(kernels | composed))


def _onnxruntime(model: onnx.ModelProto) -> None:
    from everyframe.modelfile.session import session

    session(model)


OPERATORS: dict[str, Callable[[], tuple[str, ...]]] = {"native": _native_operators, "onnxruntime": _onnxruntime_operators}
REFUSALS: dict[str, Callable[[onnx.ModelProto], None]] = {"native": _native, "onnxruntime": _onnxruntime}
