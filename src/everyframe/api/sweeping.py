"""Networks made again and again, with one of their sizes changed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.errors import UsageError
from everyframe.progress import TextProgress

if TYPE_CHECKING:
    from everyframe.benchmarking.outcome import Benchmark
    from everyframe.benchmarking.sweep import Sweep


def sweep(names: Sequence[str], over: Sweep, engines: Sequence[str], frames: int, progress: TextProgress) -> Benchmark:
    """Clip and step network of each name and value, on each engine with one thread; over threads or streams, of models as they
    are. Raises UsageError for a network that has no such size, and what `export` and `convert` raise.
    """
    from everyframe.api.given import there
    from everyframe.benchmarking.contest import Contender, contend
    from everyframe.benchmarking.costs import costs_of
    from everyframe.benchmarking.outcome import called
    from everyframe.benchmarking.sweep import OF_MODELS

    if over.axis in OF_MODELS:
        models = [there(name) for name in names]
        counts = [int(value) for value in over.values]
        more = [{over.axis: count} for count in counts]
        found = contend(
            [Contender(model, engine, **one) for model in models for engine in engines for one in more], frames, progress
        )
        found.costs = {short: made for name, short in called(models).items() if (made := costs_of(name))}
        found.sweep = {"axis": over.axis, "values": {}}
        return found
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        files = {path: value for name in names for path, value in _made(name, over, Path(folder), progress)}
        found = contend([Contender(str(path), engine) for path in files for engine in engines], frames, progress)
        found.costs = {path.name: made for path in files if (made := costs_of(str(path)))}
        found.sweep = {"axis": over.axis, "values": {path.name: value for path, value in files.items()}}
        for row in found.rows:
            row.model = Path(row.model).name
    return found


def _made(name: str, over: Sweep, folder: Path, progress: TextProgress) -> Iterator[tuple[Path, float]]:
    from everyframe.api.models import convert, export

    for value in over.values:
        clip, step = (folder / f"{name} {over.axis} {value:g}.{kind}.onnx" for kind in ("clip", "step"))
        progress(f"{name} with {over.axis} {value:g}")
        if over.axis == "width":
            export(_wide(name, value), clip)
        elif over.axis == "window":
            export(name, clip)
        else:
            export(name, clip, **{over.axis: int(value)})  # type: ignore[arg-type]
        convert(clip, step, window=int(value) if over.axis == "window" else None)
        if over.axis != "window":
            yield clip, value
        yield step, value


def _wide(name: str, value: float) -> str:
    """The network of this width: `mobilenet3d_1.0x` -> `mobilenet3d_0.5x`."""
    if not re.search(r"_[\d.]+x$", name):
        raise UsageError(
            "This network has no widths.", got=name, expected="one whose name ends with a width, such as mobilenet3d_1.0x"
        )
    return re.sub(r"_[\d.]+x$", f"_{value if value != int(value) else f'{value:.1f}'}x", name)
