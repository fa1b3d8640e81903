"""Alerts of a run on the command line: a detector for each source, and where its alerts go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from everyframe.live.sinks import Sink, sink_of
from everyframe.runtime.alerts import AlertDetector, AlertRule

if TYPE_CHECKING:
    from everyframe.runtime import Prediction, Program


class Alarm:
    """ways, settings: as `--alert` and `--alert-rule` have them. Raises UsageError, SourceError, before anything is played."""

    def __init__(self, program: Program, ways: Sequence[str], settings: Sequence[str]) -> None:
        self.program, self.rule = program, AlertRule.read(settings)
        AlertDetector(self.rule, program)
        self._sinks: list[Sink] = []
        try:
            self._sinks += map(sink_of, ways)
        except BaseException:
            self.close()
            raise

    def watch(self, source: str) -> Callable[[Prediction], Prediction]:
        """What looks at the predictions of one source."""
        detector = AlertDetector(self.rule, self.program)

        def look(prediction: Prediction) -> Prediction:
            alert = detector.update(prediction)
            if alert is None:
                return prediction
            for sink in self._sinks:
                sink.tell({**alert.to_dict(), "source": source, "model": self.program.name})
            return replace(prediction, alert=alert)

        return look

    def close(self) -> list[str]:
        """Waits for what is on its way; says what did not arrive."""
        for sink in self._sinks:
            sink.close()
        return [problem for sink in self._sinks for problem in sink.problems]
