"""Labelled clips, from annotation files to batches.

In the order in which data passes through: `formats` (annotations) -> `clips` (what they say) -> `check` (what to know
before training) -> `decode` (a clip's pictures, as prediction sees them) -> `cache` (kept on disk) -> `sampling` (which
frames) -> `augment` (what training does to them) -> `loader` (batches, by way of `workers`). Only the last two need torch.
"""
