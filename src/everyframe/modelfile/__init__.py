"""The file that everything else reads or writes: an ONNX model with what a host must know beside the graph. No torch.

In the order in which data passes through: `file` (read, written, its metadata) -> `bounds` (what no network could have)
-> `schema` (what the metadata may say; `format`: in which version) -> `manifest` (a split model: a folder of such
files) -> `interface` (is it a model that can be run, and what does it take?) -> `labels` (as people list them) ->
`ending` (what its answer is) -> `graph` (a reading view) -> `without_weights` (light copies) -> `fold` (constants
folded, BatchNorm merged; `floats`: integers taken out) -> `session` (run with onnxruntime, whose sessions `ort` makes,
`padding` that is not said written out; `exact`: in exact arithmetic; `saturation`: where processors cut bytes' sums
off) -> `states` (what is fed from step to step) -> `walk` (a model of any kind, step by step). `importer` makes such a
file of a step network of others.
"""

from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.schema import KEY, EventRule, Metadata, OutputSpec, Preprocess, Provenance, Pruned, StateSpec, Strict

__all__ = [
    "KEY",
    "EventRule",
    "Metadata",
    "OutputSpec",
    "Preprocess",
    "Provenance",
    "Pruned",
    "StateSpec",
    "Strict",
    "attach",
    "load",
    "metadata_of",
    "save",
]
