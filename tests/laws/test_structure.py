"""What every step network looks like, whatever it was made from: four axes, standard operators, states that fit."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from everyframe import modelfile
from everyframe.conversion.account import layers
from everyframe.conversion.step import Conversion
from laws.nets import Net, nets
from laws.streaming import convert_net
from laws.tally import Tally


def test_every_step_network() -> None:
    def law(net: Net, count: Counter) -> None:
        made = convert_net(net)
        count["states"] += len(made.metadata.states)
        count["copies"] += sum(state.copy_of is not None for state in made.metadata.states)
        onnx.checker.check_model(made.step, full_check=True)
        standard_operators_on_four_axes(made.step)
        names_are_unique_and_everything_is_used(made.step)
        states_fit(made)
        assert modelfile.metadata_of(made.step) == made.metadata
        assert convert_net(net).step.SerializeToString() == made.step.SerializeToString()

    tally = Tally().over(nets(), 200, law)
    tally.expect()
    assert tally.counts["states"] > tally.counts["drawn"] and tally.counts["copies"] > 0.3 * tally.counts["drawn"]


def standard_operators_on_four_axes(step: onnx.ModelProto) -> None:
    shapes = onnx.shape_inference.infer_shapes(step, strict_mode=True, data_prop=True).graph
    known = {value.name: value.type.tensor_type.shape.dim for value in (*shapes.input, *shapes.output, *shapes.value_info)}
    for node in step.graph.node:
        assert node.domain in ("", "ai.onnx"), f"{node.op_type} of {node.domain}"
        for name in node.output:
            assert name in known, f"{node.name}: the shape of {name} is not known"
            assert len(known[name]) <= 4, f"{node.name}: {len(known[name])} axes"
            assert all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in known[name]), f"{node.name}: dynamic"
    for tensor in step.graph.initializer:
        assert len(tensor.dims) <= 4, f"{tensor.name}: {len(tensor.dims)} axes"
        values = numpy_helper.to_array(tensor)
        assert values.dtype != np.float32 or np.isfinite(values).all(), f"{tensor.name} is not finite"


def names_are_unique_and_everything_is_used(step: onnx.ModelProto) -> None:
    graph = step.graph
    names = [node.name for node in graph.node]
    assert all(names) and len(set(names)) == len(names), "node names"
    made = [name for node in graph.node for name in node.output] + [v.name for v in (*graph.input, *graph.initializer)]
    assert len(set(made)) == len(made), "a tensor is made twice"
    read = {name for node in graph.node for name in node.input} | {v.name for v in graph.output}
    assert {tensor.name for tensor in graph.initializer} <= read, "unused constants"
    assert all(set(node.output) & read for node in graph.node), "unused nodes"
    assert {v.name for v in graph.output} <= set(made), "an output that nothing makes"


def states_fit(made: Conversion) -> None:
    """Each state is an input and an output of one shape; copies repeat a state of the same wire; the account adds up."""
    graph, meta = made.step.graph, made.metadata
    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    ends = {
        v.name: (v.type.tensor_type.elem_type, [d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*graph.input, *graph.output)
    }
    assert {v.name for v in graph.input} == {"frames", *(s.input for s in meta.states)}
    assert {v.name for v in graph.output} == {"logits", *(s.output for s in meta.states)}
    assert ends["frames"][1][0] == meta.hop and ends["logits"][1][0] == 1
    by_input = {state.input: state for state in meta.states}
    for state in meta.states:
        assert ends[state.input] == ends[state.output] == (types[state.dtype], list(state.shape))
        assert state.input.startswith("state.") and np.isfinite(state.fill) and prod(state.shape) > 0
        assert state.dtype != "float32" or state.shape[0] == state.frames
        if state.copy_of is not None:
            source = by_input[state.copy_of]
            assert (source.shape, source.fill, source.every, source.lag) == (state.shape, state.fill, state.every, state.lag)
            maker = next(node for node in graph.node if state.output in node.output)
            assert maker.op_type == "Identity" and list(maker.input) == [source.input]
        seen = set()
        while state.copy_of is not None:  # a chain of slots ends at the one that takes the new frame
            assert state.input not in seen, "slots copy each other in a circle"
            seen.add(state.input)
            state = by_input[state.copy_of]
    floats = sum(prod(state.shape) for state in meta.states if state.dtype == "float32")
    assert sum(row.state_floats for row in layers(made.step, meta)) == floats
