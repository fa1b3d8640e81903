"""What `bundle` gives."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.results import table
from everyframe.bundles.make import Bundle, replace
from everyframe.bundles.make import check as check_bundle
from everyframe.errors import OutputError

if TYPE_CHECKING:
    from everyframe.api.given import File, Kept


@dataclass(frozen=True)
class Bundled(Bundle):
    """A folder for a board. held: keeps it while the result lives, where no folder was named."""

    held: Kept | None = field(default=None, repr=False)

    def save(self, folder: File) -> Path:
        """Copies the folder, whole or not at all. Raises OutputError, UsageError."""
        there = Path(folder)
        check_bundle(there, self.target)
        try:
            with tempfile.TemporaryDirectory(dir=there.parent, prefix=f".{there.name}.") as beside:
                replace(Path(shutil.copytree(self.path, Path(beside) / "bundle")), there)
        except OSError as error:
            raise OutputError("The bundle cannot be written.", where=there, got=error.strerror or str(error)) from None
        return there

    def _repr_html_(self) -> str:
        return table(f"bundle for {self.target}", self.to_dict().items())
