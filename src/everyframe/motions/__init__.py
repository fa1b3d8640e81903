"""The built-in motion model, trained on rendered video alone, frame by frame, and measured with its event rule.

In the order in which data passes through: `render/` (rendered streams with their truth; no torch) -> `streams` (a data set of
them) -> `objective` (the loss, and what a validation counts) -> `run` (the ordinary training loop with both, seed by seed) ->
`export` (the clip model) -> `evaluate` (events of any model that knows the motions, on rendered and on real `clips`; `metrics`;
`flow_rule` beside it). Evaluating needs no torch.
"""
