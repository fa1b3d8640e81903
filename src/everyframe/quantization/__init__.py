"""Static INT8 (QDQ) of clip and step models, and what it costs in accuracy, operator by operator.

In the order in which data passes through: `conventions` (what a target's integers look like) -> `structure` (which nodes
compute in integers, which tensors share a scale) -> `videos` (calibration videos as the network sees them) -> `calibrate`
(ranges, measured while the float model streams) -> `scales` -> `write` (the QDQ model) -> `differences` (sums that bytes are
too coarse for) -> `sums` (convolutions over several frames become one) -> `compare` (both models side by side over a stream)
-> `mixed` (nodes put back to float until the answers agree) -> `engines` (the file on those that run it, against exact
arithmetic) -> `quantize` (all of it) -> `report`, `draw`.
"""
