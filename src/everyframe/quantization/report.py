"""What a quantization is said to be, as files: all figures, and the picture."""

from __future__ import annotations

import json
from pathlib import Path

from everyframe.errors import OutputError
from everyframe.files import check_writable, write_bytes
from everyframe.quantization.quantize import Quantized

JSON, PICTURE = "quantized.json", "quantized.png"


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

    text = json.dumps({"model": name, "verdict": result.verdict, **result.to_dict()}, indent=1)
    return [
        write_bytes(text.encode() + b"\n", folder / JSON),
        write_bytes(picture(result, f"{name}, quantized for {result.target}"), folder / PICTURE),
    ]
