"""What a quantization is said to be, as files: all figures, and the picture."""

from __future__ import annotations

import json
from pathlib import Path

from everyframe.files import make_folder, write_bytes
from everyframe.quantization.quantize import Quantized

JSON, PICTURE = "quantized.json", "quantized.png"


def write_report(folder: Path, result: Quantized, name: str) -> list[Path]:
    """The figures as JSON and the picture."""
    from everyframe.quantization.draw import picture

    make_folder(folder)
    text = json.dumps({"model": name, "verdict": result.verdict, **result.to_dict()}, indent=1)
    return [
        write_bytes(text.encode() + b"\n", folder / JSON),
        write_bytes(picture(result, f"{name}, quantized for {result.target}"), folder / PICTURE),
    ]
