"""What judging frozen features gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from everyframe.api.results import save_json, table
from everyframe.evaluation import report
from everyframe.evaluation.draw import probed
from everyframe.evaluation.page import Section
from everyframe.evaluation.probe import Probe
from everyframe.files import make_folder, write_bytes

if TYPE_CHECKING:
    from everyframe.api.given import File


class FeatureEvaluation(Probe):
    """What labels can be read from frozen features, by how many clips have labels (docs/evaluate.md). Shares: 0 to 1."""

    def save(self, folder: File, environment: Mapping[str, object] = MappingProxyType({})) -> Path:
        """Writes metrics.json, probe.csv, probe.png and a page (report.html) into a folder. environment: what they say of the
        machine and the command. Raises OutputError.
        """
        path = make_folder(folder)
        save_json({**self.to_dict(), "environment": dict(environment)}, path / "metrics.json")
        write_bytes(report.table(list(self.heading), self.table()), path / "probe.csv")
        section = Section(
            "Frozen features", [self.summary(), *self.notes], self.heading, self.table(), {"probe.png": probed(self)}
        )
        report.write(path, title=f"Features of {self.model}", environment=environment, sections=[section])
        return path

    def _repr_html_(self) -> str:
        return table(self.summary(), self.table(), self.heading)
