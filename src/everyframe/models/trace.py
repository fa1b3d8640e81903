"""torch to ONNX and back: trace a network into a graph, and compare the two on clips the exporter has not seen."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from everyframe.errors import ConversionMismatch, ModelError, UsageError
from everyframe.modelfile.ort import create
from everyframe.models.naming import tidy

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from torch import Tensor, nn

OPSET = 18
TOLERANCE = 1e-4  # relative L2 between torch and onnxruntime; float32 networks differ by 1e-7 .. 5e-6
FRESH_CLIPS = 2  # one input is not enough to find an input that was frozen into the graph
LARGEST_FILE = 2**31 - 2**22  # protobuf's limit for one message, less the graph itself


@contextlib.contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every layer gets its own mode back."""
    import torch

    modes = [(layer, layer.training) for layer in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress, its warnings about its own internals and its log lines."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _random_clip(net: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
    import torch

    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def trace(net: nn.Module, shape: tuple[int, ...], seed: int) -> tuple[onnx.ModelProto, int]:
    """(graph with input `clip` of `shape` and output `logits` (1, classes), classes). Raises ModelError, UsageError."""
    graph = graph_of(net, shape, seed)
    return graph, _check_output(graph)


def graph_of(net: nn.Module, shape: tuple[int, ...], seed: int) -> onnx.ModelProto:
    """A graph with input `clip` of `shape` and output `logits`, whatever that is. Raises ModelError, UsageError."""
    import onnx

    size = sum(value.numel() * value.element_size() for value in net.state_dict().values())
    if size > LARGEST_FILE:
        raise UsageError(
            "The network is larger than one ONNX file can be.", expected="less than 2 GB", got=f"{size / 2**30:.1f} GB"
        )
    try:
        graph = _exported(net, shape, seed)
    except UsageError:
        raise
    except Exception as error:  # the exporter's errors wrap each other, and a failing forward can raise anything
        cause = error.__cause__ or error
        raise ModelError(
            "torch cannot export this network.",
            where=type(net).__name__,
            expected=f"a network that runs on {shape}, of operators that torch can write as ONNX",
            got=(str(cause).strip().splitlines() or [type(cause).__name__])[0],
            hint="check that it runs on a clip of this shape and has no data-dependent control flow",
        ) from error
    tidy(graph)
    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # checker and shape inference raise classes of their own
        raise ModelError("The exported graph is not valid ONNX.", where=type(net).__name__, got=str(error)) from error
    return graph


def _exported(net: nn.Module, shape: tuple[int, ...], seed: int) -> onnx.ModelProto:
    """By torch's exporter; what it has no translation for (adaptive 3-D pools, attention with five axes) by its older one. That
    would freeze a branch that depends on the clip, so the first must have followed the network to its end. Raises its error.
    """
    import onnx
    import torch

    given = {"opset_version": OPSET, "input_names": ["clip"], "output_names": ["logits"]}
    with _evaluating(net), _quiet():
        clip = (_random_clip(net, shape, seed),)
        try:
            exported = torch.onnx.export(net, clip, dynamo=True, external_data=False, verbose=False, **given)  # type: ignore[arg-type]
            return exported.model_proto  # type: ignore[union-attr]
        except torch.onnx.OnnxExporterError as error:
            if type(error).__name__ == "TorchExportError":  # not followed: its class has no public name
                raise
            written = io.BytesIO()
            with contextlib.suppress(Exception):
                torch.onnx.export(net, clip, written, dynamo=False, **given)  # type: ignore[arg-type]
                return onnx.load_from_string(written.getvalue())
            raise


def _check_output(graph: onnx.ModelProto) -> int:
    """The number of classes. Raises ModelError unless the only output is (1, classes)."""
    shapes = [[d.dim_value for d in out.type.tensor_type.shape.dim] for out in graph.graph.output]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != 1 or shapes[0][1] < 1:
        raise ModelError(
            "The network's output is not a vector of logits.",
            expected="one output of shape (1, classes)",
            got=shapes,
            hint="average over time and space in the network, and return the logits only",
        )
    return shapes[0][1]


def compare(net: nn.Module, graph: onnx.ModelProto, shape: tuple[int, ...], seed: int) -> float:
    """Worst relative L2 over fresh clips. Raises ConversionMismatch beyond TOLERANCE."""
    import numpy as np
    from torch.utils._pytree import tree_leaves

    try:
        session = create(graph)
    except ModelError as error:
        raise ModelError("onnxruntime cannot load the exported network.", where=type(net).__name__, got=error.got) from error
    worst = 0.0
    for i in range(1, FRESH_CLIPS + 1):
        clip = _random_clip(net, shape, seed + i)
        with _evaluating(net):
            (logits,) = tree_leaves(net(clip))  # alone, as the graph's output is, perhaps in a tuple or a dictionary
        expected: np.ndarray = logits.cpu().numpy()
        if not np.isfinite(expected).all():
            raise ModelError(
                "The network's logits are not finite on random clips.", got="NaN or infinity", hint="check its weights"
            )
        try:
            got = session.run(None, {"clip": clip.cpu().numpy()})[0]
        except Exception as error:  # onnxruntime has a dozen types of its own
            raise ModelError("onnxruntime cannot run the exported network.", where=type(net).__name__, got=str(error)) from error
        difference = float(np.linalg.norm(got - expected) / max(float(np.linalg.norm(expected)), 1e-12))
        worst = max(worst, difference) if np.isfinite(difference) else np.inf
    if not worst <= TOLERANCE:
        raise ConversionMismatch(
            "The exported network does not compute what torch computes, so nothing was written.",
            expected=f"a relative difference of at most {TOLERANCE:.0e}",
            got=f"{worst:.1e} on clips the exporter had not seen",
            hint="avoid in-place writes and .data in the network: they are frozen into the file as constants",
        )
    return worst
