"""What a quantization is said to be: one line, and files for the rest."""

from __future__ import annotations

import json
from pathlib import Path

from everyframe.errors import OutputError
from everyframe.files import check_writable, write_bytes
from everyframe.quantization.quantize import Quantized

JSON, PICTURE = "quantized.json", "quantized.png"


def verdict(result: Quantized) -> str:
    """One line."""
    found, layers = result.comparison.answers, [row for row in result.comparison.layers if row.op != "input"]
    held = "holds" if found.cosine >= result.wanted else "misses"
    integers = sum(row.precision == "int" for row in layers)
    growth = "the error grows along the stream" if result.grows else "the error does not grow along the stream"
    worst = min(layers, key=lambda row: row.cosine)
    runs = f"{result.comparison.steps} {result.runs}"
    return (
        f"similarity {found.cosine:.4f} {held} {result.wanted:g} (worst of {runs} {found.worst:.4f}); "
        f"worst layer {worst.cosine:.4f} ({worst.name}); "
        f"top-1 agrees in {found.agreement:.1%}, KL {found.kl:.2g}; {growth if result.comparison.states else 'no states'}; "
        f"{integers} of {len(layers)} layers in integers"
    )


def prepare(folder: Path) -> None:
    """Makes the folder, or raises OutputError before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("The report's folder cannot be made.", where=folder, got=error.strerror or str(error)) from None
    check_writable(folder / JSON)


def write_report(folder: Path, result: Quantized, name: str) -> list[Path]:
    """The figures as JSON and the picture."""
    from everyframe.quantization.draw import picture

    text = json.dumps({"model": name, "verdict": verdict(result), **result.to_dict()}, indent=1)
    return [
        write_bytes(text.encode() + b"\n", folder / JSON),
        write_bytes(picture(result, f"{name}, quantized for {result.target}"), folder / PICTURE),
    ]
