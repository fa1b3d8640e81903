"""OpenVINO on the CPU. States are variables of the network: each stream (an InferRequest) keeps its own inside the runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from everyframe.errors import EngineError, install_extra
from everyframe.modelfile import saturation
from everyframe.modelfile.schema import StateSpec
from everyframe.runtime.engine import Frames, Job, cores

#: operators that may leave the numbers where they are
_VIEWS = {"Identity", "Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze", "VariadicSplit"}
#: what is quantized is computed in float32: the name is not documented, and asking for it is refused where setting it is not
_AS_FLOATS = {"LP_TRANSFORMS_MODE": False}


def load(job: Job) -> OpenVinoSession:
    return OpenVinoSession(job)


class OpenVinoSession:
    """reason: how it computes, where that is not the usual way. warning: what is wrong with its answers."""

    def __init__(self, job: Job) -> None:
        self.reason = self.warning = ""
        _check_known(job)
        try:
            import openvino
        except ImportError as error:
            raise EngineError(
                "The engine openvino is not installed.", got=str(error),
                hint=f"{install_extra('openvino')}, or choose --engine ort",
            ) from None  # fmt: skip
        threads = job.threads or cores()
        streams = max(1, cores() // threads)  # requests that run at the same time
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": str(streams),
            "INFERENCE_PRECISION_HINT": "f32",  # or it chooses bfloat16 by itself where the processor has it
            "ENABLE_HYPER_THREADING": True,  # or it would use one thread of a core with two
            "ENABLE_CPU_PINNING": False,  # other processes use the cores too
        }
        self.where, self.feeds, self.logits, self.others = job.where, job.feeds, job.logits, job.others
        self.tensor = openvino.Tensor
        # the graphs of several requests would be made at the same time and spoil each other: every second time a network that was
        # loaded like that answered nonsense
        alone = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": "1"}
        floats = self._floats(job)

        def compiled(core: Any, more: dict[str, Any]) -> Any:
            network = core.read_model(job.model.SerializeToString())
            _keep_states(network, job.states.specs)
            return core.compile_model(network, "CPU", settings | more)

        try:
            core = openvino.Core()
            if floats and self._tell(core):
                self.compiled, self.reason = compiled(core, alone), floats
                return
            try:
                self.compiled = compiled(core, {})
            except RuntimeError:  # some quantized models are refused that are none as floats
                if not saturation.quantized(job.model) or not self._tell(core):
                    raise
                self.compiled, self.reason, self.warning = compiled(core, alone), "in float32, since integers are refused", ""
        except RuntimeError as error:
            raise EngineError(
                "OpenVINO cannot load the model.", where=job.where, got=_short(error), hint="choose --engine ort"
            ) from None

    def _floats(self, job: Job) -> str:
        """Why a model is better computed in float32; empty where integers are right."""
        if cut_off := saturation.hits(job.model, saturation.OPENVINO):
            self.warning = saturation.warning(cut_off, saturation.OPENVINO)
            return saturation.AS_FLOATS
        return "in float32, since its integers are off where bytes have a sign" if _signed(job.model) else ""

    def _tell(self, core: Any) -> bool:
        """To compute in float32. Not every version can be told so."""
        try:
            core.set_property("CPU", _AS_FLOATS)
        except RuntimeError:
            return False
        self.warning = ""
        return True

    def start(self) -> OpenVinoRun:
        return OpenVinoRun(self)


class OpenVinoRun:
    def __init__(self, session: OpenVinoSession) -> None:
        self.session = session
        self.request = session.compiled.create_infer_request()
        self.others: dict[str, np.ndarray] = {}

    def reset(self) -> None:
        self.request.reset_state()

    def step(self, frames: Frames) -> np.ndarray:
        session = self.session
        try:
            for name, array in session.feeds(frames).items():
                self.request.set_tensor(name, session.tensor(np.ascontiguousarray(array), shared_memory=True))
            self.request.infer()
        except RuntimeError as error:
            raise EngineError("OpenVINO failed to run the model.", where=session.where, got=_short(error)) from None
        self.others = {name: np.array(self.request.get_tensor(name).data) for name in session.others}
        return np.array(self.request.get_tensor(session.logits).data)


def _check_known(job: Job) -> None:
    """Refuses what OpenVINO (2026.4) answers otherwise than ONNX says, by a third and more of the values."""
    for node in job.model.graph.node:
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if wrong := next((what for op, what, found in _OTHERWISE if op == node.op_type and found(attrs)), None):
            raise EngineError(
                f"OpenVINO computes {wrong} in another way.", where=f"{job.where}, node {node.name or node.output[0]!r}",
                hint="choose --engine ort",
            )  # fmt: skip


#: (operator, in words, whether its attributes mean it)
_OTHERWISE: tuple[tuple[str, str, Callable[[dict[str, Any]], bool]], ...] = (
    (
        "AveragePool", "averages that count padding and round up",
        lambda a: bool(a.get("ceil_mode") and a.get("count_include_pad") and any(a.get("pads") or ())),
    ),
    ("Resize", "sizes with antialiasing", lambda a: bool(a.get("antialias"))),
)  # fmt: skip


def _signed(model: onnx.ModelProto) -> bool:
    """Activations are rounded to int8. Networks of ours answered otherwise then by half of what they say: convolutions at borders
    and behind a Concat; others did not.
    """
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return any(
        node.op_type == "QuantizeLinear" and node.input[0] not in constants
        and len(node.input) > 2 and constants.get(node.input[2]) == onnx.TensorProto.INT8
        for node in model.graph.node
    )  # fmt: skip


def _keep_states(network: Any, specs: tuple[StateSpec, ...]) -> None:
    """Replaces each pair of an input and an output by a variable that begins with the state's fill.

    OpenVINO has a transformation for this; its variables can only begin with zeros.
    """
    from openvino import PartialShape, Type
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    inputs = {name: port.get_node() for port in network.inputs for name in port.get_names()}
    outputs = {name: port.get_node() for port in network.outputs for name in port.get_names()}
    variables, values = {}, {}
    for spec in specs:
        # an int64 variable that has a first value makes the CPU plugin compute nonsense
        kind = np.dtype(np.int32 if spec.dtype == "int64" else spec.dtype)
        info = VariableInfo()
        info.variable_id, info.data_shape, info.data_type = spec.input, PartialShape(list(spec.shape)), Type(kind)
        variables[spec.output] = variable = Variable(info)
        values[spec.input] = value = ops.read_value(ops.constant(np.full(spec.shape, spec.fill, kind)), variable)
        if spec.dtype == "int64":
            values[spec.input] = value = ops.convert(value, "i64")
        for reader in inputs[spec.input].output(0).get_target_inputs():
            reader.replace_source_output(value.output(0))
    assigned = []
    for spec in specs:  # once no state is read from an input any more
        # the graph may leave out an output that only repeats a state
        source = outputs[spec.output].input_value(0) if spec.copy_of is None else values[spec.copy_of].output(0)
        node = source.get_node()
        if spec.dtype == "int64":
            node = ops.convert(source, "i32")
        elif _origin(node) in ("Parameter", "Concat") or node.get_output_size() > 1:
            # the CPU plugin overwrites an input that is assigned as it is, and what is joined is where its parts are; and an
            # Assign reads a node, not one of its outputs
            node = ops.maximum(source, ops.constant(np.finfo(np.float32).min, np.float32))
        assigned.append(ops.assign(node, variables[spec.output]))
    network.add_variables(list(variables.values()))
    network.add_sinks(assigned)
    for spec in specs:
        if spec.output in outputs:
            network.remove_result(outputs[spec.output])
        network.remove_parameter(inputs[spec.input])


def _origin(node: Any) -> str:
    """The type of what a node's memory may be a view of."""
    while node.get_type_name() in _VIEWS:
        node = node.input_value(0).get_node()
    name: str = node.get_type_name()
    return name


def _short(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
