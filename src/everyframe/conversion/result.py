"""What a conversion gives: the step network, and what was decided on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from everyframe.conversion.facts import Facts
from everyframe.modelfile.schema import Metadata


@dataclass
class Conversion:
    """A step network and what was decided on the way. source: the clip network as given; clip: folded, dead taps cut."""

    step: onnx.ModelProto
    source: onnx.ModelProto
    clip: onnx.ModelProto
    facts: Facts
    metadata: Metadata
    tensors: dict[str, str]  # wire of the clip network -> tensor of the step network
    notes: list[str] = field(default_factory=list)
    difference: float | None = None  # largest relative difference found by verify
    state_difference: float | None = None  # the same of states of float16 beside float32, where they are
    inputs: dict[str, str] = field(default_factory=dict)  # input of the clip network -> input of the step network
    answers: dict[str, str] = field(default_factory=dict)  # output of the clip network -> output of the step network
    assumed: dict[str, str] = field(default_factory=dict)  # what the file did not say -> the option that says it
