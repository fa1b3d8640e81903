"""Labeled clips, from annotation files to pictures. No torch: `training.loader` makes batches of them.

In the order in which data passes through: `formats/` (annotations) -> `clips` (what they say) -> `header` (what a file says
of itself) -> `check`, `mirrored_labels` (what to know before training) -> `decode` (a clip's pictures, as prediction sees
them) -> `cache` (kept on disk), by way of `workers` -> `sampling` (which frames) -> `views` (clips for evaluation).
`surrogate` makes classes of clips that have none.
"""
