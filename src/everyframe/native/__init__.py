"""A model as C without dependencies. numpy and onnx only, no torch.

In the order in which data passes through: `trace` (ONNX evaluated on references to frames, by the tables in `lower_*`) ->
`ir.Network` -> `fuse` -> `layout` (forms, borders, one arena) -> `pack` (convolutions as tables, in a `blob`) -> `emit` and `maps`
(C, with the kernels in `c/`) -> a compiler. `target` is the table of processors.
"""
