"""Runs a law over many random networks and knows how many were really compared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from everyframe.errors import EveryframeError
from laws.layers import ROWS
from laws.nets import Net, rows_of
from laws.streaming import NotComparable

FUZZ = int(os.environ.get("EVERYFRAME_FUZZ", "0"))  # networks for each law, freshly drawn; 0: the same few every time


class Tally:
    """counts: compared, and each reason why a network was not; worst: the largest relative difference."""

    def __init__(self) -> None:
        self.counts: Counter = Counter()
        self.rows: Counter = Counter()
        self.worst = 0.0

    def over(self, networks: SearchStrategy[Net], examples: int, law: Callable[[Net, Counter], float | None]) -> Tally:
        @settings(
            max_examples=FUZZ or examples, derandomize=not FUZZ, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), print_blob=False,
        )  # fmt: skip
        @given(networks)
        def holds(net: Net) -> None:
            self.counts["drawn"] += 1
            try:
                self.worst = max(self.worst, law(net, self.counts) or 0.0)
            except NotComparable as reason:
                self.counts[str(reason)] += 1
            except EveryframeError as error:
                self.counts[f"refused: {error.what}"] += 1
                if error.where is None or not ambiguous(net):
                    raise
            else:
                self.counts["compared"] += 1
                self.rows.update(set(rows_of(net.layers)))

        holds()
        return self

    def expect(self, share: float = 0.97, every_row: int = 0) -> None:
        """At least this share was compared, and every kind of layer at least so often."""
        shown = ", ".join(f"{name}: {n}" for name, n in self.counts.most_common())
        assert self.counts["compared"] >= share * self.counts["drawn"], shown
        rare = {row.__name__: self.rows[row.__name__] for row in ROWS if self.rows[row.__name__] < every_row}
        assert not rare, f"hardly compared: {rare} ({shown})"


def ambiguous(net: Net) -> bool:
    """A wire with one channel and one frame: which of two axes of size 1 is time cannot be told from a reshape."""
    return any(w.c == 1 and w.T == 1 for w in net.write(net.T, False)[0].wires.values())
