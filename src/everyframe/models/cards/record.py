"""A card as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from everyframe.models.cards.card import Card, Measured, Streamed
from everyframe.models.checkpoints.published import published


def record(found: Card) -> dict[str, Any]:
    """Everything as plain data."""
    entry, measured = found.entry, found.measured
    height, width = entry.size
    return {
        "name": entry.name,
        "input": f"{entry.preprocess.channels}x{entry.frames}x{height}x{width}",
        "classes": entry.num_classes,
        "parameters": measured.params if measured else None,
        "macs_per_clip": measured.macs if measured else None,
        "paper_flops": measured.paper_flops if measured else None,
        "streamed": _rates(measured) if measured else None,
        "golden": dict(zip(("case", "difference"), measured.golden, strict=True)) if measured and measured.golden else None,
        "published": [asdict(figure) for figure in found.figures],
        "weights": [asdict(item) for item in published(entry.name)],
        "paper": entry.paper,
        "checkpoints": entry.source,
        "preprocess": entry.preprocess.model_dump(),
        "options": {key: {"default": entry.options[key], "choices": values} for key, values in entry.choices.items()},
        "least_frames": entry.min_frames,
        "least_size": entry.min_size,
        "note": entry.note,
    }


def _rates(measured: Measured) -> dict[str, Any]:
    def rate(streamed: Streamed | None, saving: float | None) -> dict[str, Any] | None:
        return None if streamed is None else {**asdict(streamed), "macs_per_frame": streamed.macs_per_frame, "saving": saving}

    return {
        "native": rate(measured.native, measured.saving_per_hop),
        "dense": rate(measured.dense, measured.saving_per_frame),
    }
