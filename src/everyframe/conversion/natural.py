"""Recurrence in all the ways in which networks write it, as Scan: the one form that is streamed (`rules/recurrent.py`).

    LSTM, GRU, RNN     their cell written out (`cells`)
    Loop over time     what is picked by the loop's number becomes what is scanned
    a last state       the last of the states of all frames, which a stream takes for its newest

A network resets its state at every clip. A stream has no clips, so the state goes on: the network, run once over all of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion import cells
from everyframe.modelfile.graph import static_shapes

_CELLS = ("LSTM", "GRU", "RNN")


def natural(clip: onnx.ModelProto) -> list[str]:
    """Rewrites `clip` in place; returns the names of the nodes whose state is carried on."""
    if not any(node.op_type in (*_CELLS, "Loop", "Scan") for node in clip.graph.node):
        return []
    writer = _Writer(clip)
    nodes, names = [], []
    for proto in list(clip.graph.node):
        made = writer.rewritten(proto)
        nodes += made or [proto]
        if made:
            names.append(proto.name or proto.output[0])
    del clip.graph.node[:]
    clip.graph.node.extend(nodes)
    return names


class _Writer:
    def __init__(self, clip: onnx.ModelProto) -> None:
        self.graph, self.shapes = clip.graph, static_shapes(clip)
        self.constants = {t.name: numpy_helper.to_array(t) for t in clip.graph.initializer}
        self.used = {x for node in clip.graph.node for x in node.input if x} | {v.name for v in clip.graph.output}

    def const(self, array: np.ndarray, name: str) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def rewritten(self, proto: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """The nodes that stand for `proto`; None where it stays (its rule then says why it cannot be streamed)."""
        attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        if proto.op_type in _CELLS:
            return self._cell(proto, attrs)
        if proto.op_type == "Loop":
            return self._loop(proto, attrs["body"])
        if proto.op_type == "Scan":
            return self._scan(proto, attrs)
        return None

    def _cell(self, proto: onnx.NodeProto, attrs: dict[str, Any]) -> list[onnx.NodeProto] | None:
        op, prefix = proto.op_type, proto.name or proto.output[0]
        names = [*proto.input, *[""] * (8 - len(proto.input))]
        x, w, r, b, lengths, *first, peep = names if op == "LSTM" else [*names[:6], ""]
        given = [name for name in (w, r, b, lengths, peep, *first) if name]
        if any(name not in self.constants for name in given) or attrs.get("direction", b"forward") != b"forward":
            return None
        if attrs.get("layout") or cells.activations(op, attrs) is None or x not in self.shapes:
            return None
        frames, positions, inputs = self.shapes[x]
        if lengths and (self.constants[lengths] != frames).any():
            return None
        hidden = self.constants[r].shape[-1]
        zero = np.zeros((positions, hidden), np.float32)
        first = [
            self.const(self.constants[name][0] if name else zero, f"{prefix}/first{i}")
            for i, name in enumerate([*first, ""][: len(cells.STATES[op])])
        ]
        arrays = [self.constants[name][0] if name else None for name in (w, r, b, peep)]
        body = cells.cell(op, prefix, attrs, (positions, inputs), *arrays)
        sequences = [f"{prefix}/{state}" for state in cells.STATES[op]]
        outputs = [*proto.output, "", ""][:3]
        if outputs[0]:
            sequences[0] = outputs[0]
        scan = helper.make_node(
            "Scan", [*first, x], [f"{prefix}/last{i}" for i in range(len(first))] + sequences,
            name=prefix, body=body, num_scan_inputs=1,
        )  # fmt: skip
        picks = zip(outputs[1:], sequences, strict=False)
        return [scan, *(self._last(sequence, out, frames) for out, sequence in picks if out in self.used)]

    def _last(self, sequence: str, output: str, frames: int, axis: int = 0) -> onnx.NodeProto:
        index = self.const(np.array(frames - 1, np.int64), f"{output}/last")
        return helper.make_node("Gather", [sequence, index], [output], name=f"{output}/pick", axis=axis)

    def _scan(self, proto: onnx.NodeProto, attrs: dict[str, Any]) -> list[onnx.NodeProto]:
        """The states of all frames beside the last one, where that is read."""
        scanned = attrs["num_scan_inputs"]
        states = len(proto.input) - scanned
        read = [i for i in range(states) if i < len(proto.output) and proto.output[i] in self.used]
        copy = onnx.NodeProto()
        copy.CopyFrom(proto)
        body = next(a for a in copy.attribute if a.name == "body").g
        axes = attrs.get("scan_input_axes", [0] * scanned)
        name = proto.input[states]
        if name not in self.shapes:
            return [proto]
        frames, picks = self.shapes[name][axes[0]], []
        for i in read:
            output, sequence = proto.output[i], f"{proto.output[i]}/frames"
            made = f"{output}/frame"
            body.node.append(helper.make_node("Identity", [body.output[i].name], [made], name=made))
            body.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
            copy.output[i] = f"{output}/end"
            copy.output.append(sequence)
            picks.append(self._last(sequence, output, frames))
        for attribute in copy.attribute:
            if attribute.name in ("scan_output_axes", "scan_output_directions"):
                attribute.ints.extend([0] * len(read))
        return [copy, *picks]

    def _loop(self, proto: onnx.NodeProto, body: onnx.GraphProto) -> list[onnx.NodeProto] | None:
        """A loop that runs a constant number of times and picks frame i of tensors, as a Scan over them."""
        trips, going = (self.constants.get(name) if name else None for name in proto.input[:2])
        if trips is None or (proto.input[1] and (going is None or not going.all())):
            return None
        number, condition = (value.name for value in body.input[:2])
        aliases = {number}
        scan, picked = onnx.GraphProto(), []
        scan.CopyFrom(body)
        del scan.node[:], scan.input[:2], scan.output[:1]
        own = {name for node in body.node for name in node.output} | {value.name for value in body.input}
        local = {t.name: numpy_helper.to_array(t) for t in body.initializer}
        for node in body.node:
            attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type in ("Identity", "Cast", "Squeeze") and node.input[0] in aliases:
                aliases |= set(node.output)
            elif node.op_type == "Gather" and node.input[1] in aliases and node.input[0] not in own | set(local):
                axis = attrs.get("axis", 0) % len(self.shapes.get(node.input[0], (0,)))
                if self.shapes.get(node.input[0], (0,))[axis] != int(trips.reshape(())):
                    return None
                shape = [size for i, size in enumerate(self.shapes[node.input[0]]) if i != axis]
                scan.input.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape))
                picked.append((node.input[0], axis))
            elif not (node.output[0] == body.output[0].name or (set(node.input) & {condition} and len(node.output) == 1)):
                scan.node.append(node)
        left = {name for node in scan.node for name in node.input} & (aliases | {condition})
        if not picked or left:
            return None
        made = helper.make_node(
            "Scan", [*proto.input[2:], *(name for name, _ in picked)], list(proto.output), name=proto.name or proto.output[0],
            body=scan, num_scan_inputs=len(picked), scan_input_axes=[axis for _, axis in picked],
        )  # fmt: skip
        return self._scan(made, {a.name: helper.get_attribute_value(a) for a in made.attribute})
