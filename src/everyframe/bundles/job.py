"""What is made for a target, and of what: handed on to all that fill the folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from everyframe.bundles.targets import Target
from everyframe.modelfile.file import Held
from everyframe.progress import TextProgress

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Job:
    """source: the model as it was given. fresh: the folder to fill. most: samples, at most."""

    source: str | os.PathLike[str]
    fresh: Path
    target_name: str
    target: Target
    most: int
    progress: TextProgress

    @property
    def file(self) -> str:
        """How the model is called in what people read."""
        name = Path(self.source).name
        return name if not isinstance(self.source, Held) or name.endswith(".onnx") else "model.onnx"

    @property
    def name(self) -> str:
        """Of the compiled file: letters, digits and underscores."""
        return re.sub(r"\W+", "_", Path(self.file).stem)

    def write(self, file: str, template: str, **words: object) -> None:
        text = Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
        (self.fresh / file).write_text(text, encoding="utf-8")
