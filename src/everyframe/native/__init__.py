"""A model as C without dependencies. numpy and onnx only, no torch.

In the order in which data passes through: `trace` (ONNX evaluated on references to frames, by the table in `tracer` that the
`lower_*` fill; loops and branches are written out by `control`) -> `ir.Graph` -> `fuse` -> `strips` (chains of convolutions, some
rows at a time) -> `layout` (forms, borders, one arena) -> `pack`, `pack_int8`, `halved` (convolutions as tables, see `packed`, in
a `blob`) -> `calls`, `maps`, `text` and `emit` (C, with the kernels in `c/`): all of it is `generate`. Then `build` (the system's
compiler), `store` (a cache, with `locks`), `artifact` (the file and what is checked of it), `library` (in this process) or
`hosted` (in node), `check` and `compile`. `target` is the table of processors, `choice` what can be chosen for a convolution,
`tuned` what was measured, by the program of `tune`, on which `processor`; `winograd` transforms 3x3 kernels where that is chosen.
"""
