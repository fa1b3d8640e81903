"""Long recordings and lists of spans of them: begin and end in seconds and a label (`truths` reads the forms that there are).

Each span is a clip; what lies between them is background, in pieces as long as a typical span, not more of them than
the most frequent label has spans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from everyframe.data.formats import truths
from everyframe.data.formats.text import Reading, Row, Wanted
from everyframe.data.header import probe
from everyframe.data.truths import Labeled, Name, Spans
from everyframe.errors import SourceError

#: what nothing is called; a list may also mark it
BACKGROUND = "none"
#: seconds around a span that are not background: people mark roughly
MARGIN_S = 0.25
#: seconds of background at the least
SHORTEST_S = 0.5


def recordings(
    path: Path, root: Path | None = None, problems: list[str] | None = None
) -> list[tuple[Labeled, tuple[tuple[float, float, Name], ...]]]:
    """The recordings of a list that are there, and the spans of each by their begin. root: their folder; None: the list's.
    problems: gets those that are not there. Raises SourceError.
    """
    found = truths.read(path, root or path.parent, "frames")
    if problems is not None:
        problems += found.problems
    made = [(one, tuple(sorted(one.truth.parts))) for one in found.clips if isinstance(one.truth, Spans)]
    if not made:
        raise SourceError(
            "This list has no spans.", where=path, expected="`file,start,end,label`, in seconds", got="a label for each frame",
            hint="docs/data.md shows the forms",
        )  # fmt: skip
    return made


def between(parts: Iterable[tuple[float, float, Name]], seconds: float) -> list[tuple[float, float]]:
    """(begin, end) of what is in no span, of a recording so long; with a margin, and nothing short."""
    gaps, at = [], 0.0
    for begin, end in [*sorted((begin, end) for begin, end, _ in parts), (seconds + MARGIN_S, seconds)]:
        gaps.append((at, begin - MARGIN_S))
        at = max(at, end + MARGIN_S)
    return [(begin, end) for begin, end in gaps if end - begin >= SHORTEST_S]


def beyond(recording: str, parts: Iterable[tuple[float, float, Name]], seconds: float) -> list[str]:
    """What becomes of the spans that end behind a recording so long."""
    outside = (part for part in parts if part[1] > seconds + MARGIN_S)
    return [
        f"{recording}: {label} from {begin:g} to {end:g} s, {'left out' if begin >= seconds else 'cut'}: "
        f"the recording ends after {seconds:.2f} s"
        for begin, end, label in outside
    ]


def read(wanted: Wanted) -> Reading:
    reading = Reading([])
    for split, path in wanted.lists.items():
        _read(split, path, wanted.root, len(wanted.lists) == 1, reading)
    return reading


def _read(split: str, path: Path, root: Path, alone: bool, reading: Reading) -> None:
    """alone: a column `split` of the only list says where its recordings belong."""
    listed = recordings(path, root, reading.problems)
    parts = [part for _, own in listed for part in own]
    length = median(end - begin for begin, end, _ in parts)
    spans, quiet = list[Row](), list[Row]()
    for one, own in listed:
        of = (one.split if alone else None) or split

        def row(begin: float, end: float, label: Name, one: Labeled = one, of: str = of) -> Row:
            name = f"{one.clip.name}#{begin:g}-{end:g}"
            return Row(of, name, label, one.place, span=(begin, end), group=one.clip.name, path=one.clip.path)

        seconds = probe(one.clip).seconds
        if seconds is None:  # it cannot be read, which is told when it is
            spans += [row(*part) for part in own]
            continue
        reading.problems.extend(beyond(str(one.clip.name), own, seconds))
        spans += [row(*part) for part in own if part[0] < seconds]
        for begin, end in between(own, seconds):
            count = max(1, int((end - begin) // length))
            each = (end - begin) / count
            quiet += [row(round(begin + i * each, 3), round(begin + (i + 1) * each, 3), BACKGROUND) for i in range(count)]
    most = max(Counter(label for *_, label in parts).values())
    kept = quiet if len(quiet) <= most else [quiet[i * len(quiet) // most] for i in range(most)]
    reading.rows.extend([*spans, *(kept if all(isinstance(label, str) for *_, label in parts) else [])])
