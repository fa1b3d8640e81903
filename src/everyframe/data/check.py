"""What to know about labeled clips before training on them: balance, lengths, rates, sizes, and what would mislead.

`report` opens every clip (its header and a little of its content, not every frame) and says what it found as data; `render`
shows that on a terminal. A network learns whatever tells classes apart, so a frame rate, a length or a size that goes with
a class is told.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from everyframe.data import mirrored_labels
from everyframe.data.clips import Clip, Collection
from everyframe.data.header import Header, probe
from everyframe.data.workers import Pool
from everyframe.progress import CountProgress

TINY = 10  # training clips of a class
UNEVEN = 10  # times as many clips in the largest class as in the smallest
LEAK = 0.05  # share of what is to be known about the class, beyond what chance gives
SHOWN = 5
MANY = 8


#: published sets by their labels, letters and digits alone, and how many frames a second they were taken with: they come as
#: pictures, and what makes videos of these often gives them another rate
TAKEN: dict[str, tuple[re.Pattern[str], float]] = {
    "Jester": (
        re.compile(
            "(swiping|slidingtwofingers)(down|left|right|up)|(pullinghand|pullingtwofingers)in|(pushinghand|pushingtwofingers)away|"
            "rollinghand(backward|forward)|turninghand(counter)?clockwise|zooming(in|out)with(fullhand|twofingers)|"
            "drummingfingers|doingotherthings|shakinghand"
        ), 12.0,
    ),
    "Something-Something": (re.compile(r"[a-z]+ing.*something.*"), 12.0),
}  # fmt: skip
OFF = 1.1  # times as fast or slow


@dataclass(frozen=True)
class Leak:
    """share: how much of the class the property alone tells, from 0 to 1. detail: the classes that stand out."""

    what: str
    share: float
    detail: str


@dataclass(frozen=True)
class Finding:
    what: str
    hint: str

    def note(self) -> str:
        return f"{self.what.rstrip('.')}; {self.hint}"


@dataclass(frozen=True)
class Report:
    """classes: label -> split -> clips. rates, sizes: value -> clips. frames, seconds: (least, median, most). mirrored:
    pairs of labels that a mirror exchanges. broken, problems: with their paths.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    rates: dict[str, int]
    sizes: dict[str, int]
    frames: tuple[int, float, int] | None
    seconds: tuple[float, float, float] | None
    leaks: list[Leak] = field(default_factory=list)
    mirrored: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def report(collection: Collection, workers: int = 0, progress: CountProgress | None = None) -> Report:
    """Opens every clip and says what it found. progress(done, of)."""
    placed = [(split, clip) for split, clips in collection.splits.items() for clip in clips]
    headers = []
    with Pool(probe, workers, name=lambda clip: clip.path) as pool:
        for header in pool.run((clip for _, clip in placed), ahead=64):
            headers.append(header)
            if progress:
                progress(len(headers), len(placed))
    rows = [(split, clip, header) for (split, clip), header in zip(placed, headers, strict=True)]
    good = [(split, clip, header) for split, clip, header in rows if header.error is None]
    known = [(collection.labels[clip.label], header) for _, clip, header in good if clip.label >= 0]
    classes = {label: dict.fromkeys(collection.splits, 0) for label in collection.labels}
    for split, clip, _ in good:
        if clip.label >= 0:
            classes[collection.labels[clip.label]][split] += 1
    leaks = _leaks(known)
    pairs = mirrored_labels.pairs(collection.labels)
    return Report(
        splits={split: sum(1 for row in good if row[0] == split) for split in collection.splits},
        classes=classes,
        rates=_counted(_rate(header) for _, _, header in good),
        sizes=_counted(_size(header) for _, _, header in good),
        frames=_spread([header.frames for _, _, header in good]),
        seconds=_spread([header.seconds for _, _, header in good if header.seconds is not None]),
        leaks=leaks,
        mirrored=pairs,
        findings=[
            *_balance(classes),
            *_twice(good, collection.labels),
            *map(_told, leaks),
            *_sides(collection.labels, pairs),
            *restamped(collection.labels, [header for _, _, header in good]),
        ],
        broken=[header.error for header in headers if header.error is not None],
        problems=list(collection.problems),
    )


def restamped(labels: Sequence[str], headers: Sequence[Header]) -> list[Finding]:
    """Whether these are the labels of a published set whose clips have another rate here than they were taken with."""
    letters = [re.sub(r"[^a-z0-9]", "", label.lower()) for label in labels]
    rates = [header.fps for header in headers if header.fps]
    for name, (known, taken) in TAKEN.items():
        off = Counter(f"{rate:.4g}" for rate in rates if not 1 / OFF < rate / taken < OFF)
        if not off or sum(known.fullmatch(each) is not None for each in letters) < max(3, len(labels) / 2):
            continue
        rate = float(off.most_common(1)[0][0])
        pace = rate / taken
        return [
            Finding(
                f"These are labels of {name}, which was taken with {taken:g} frames a second, but {off.total()} of "
                f"{len(headers)} clips say another rate, most of these {rate:g}: they play {pace:.3g} times as fast as people "
                "moved.",
                f"if they were made of its pictures, ffmpeg -itsscale {pace:.5g} -i CLIP -c copy NEW gives a clip its time back",
            )
        ]
    return []


def _rate(header: Header) -> str:
    return f"{header.fps:.4g}" if header.fps else "pictures"


def _size(header: Header) -> str:
    return f"{header.width}x{header.height}"


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _spread(values: list[Any]) -> tuple[Any, Any, Any] | None:
    return (min(values), median(values), max(values)) if values else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _balance(classes: dict[str, dict[str, int]]) -> list[Finding]:
    found = []
    train = {label: splits.get("train", 0) for label, splits in classes.items()}
    if empty := [label for label, count in train.items() if not count]:
        found.append(Finding(f"No clips to learn from: {_listed(empty)}.", "add clips, or take these classes out"))
    if tiny := [f"{label} ({count})" for label, count in train.items() if 0 < count < TINY]:
        found.append(Finding(f"Fewer than {TINY} clips to learn from: {_listed(tiny)}.", "add clips, or join classes"))
    if unseen := [label for label in classes if train[label] and not classes[label].get("validation", 0)]:
        found.append(Finding(f"No clips to validate with: {_listed(unseen)}.", "their accuracy will not be known"))
    filled = {label: count for label, count in train.items() if count}
    if filled and max(filled.values()) > UNEVEN * min(filled.values()):
        most, least = (choose(filled, key=lambda label: filled[label]) for choose in (max, min))
        found.append(
            Finding(
                f"Classes are uneven: {most} has {filled[most]} clips, {least} {filled[least]}.",
                "look at the accuracy of each class, not at the mean over clips",
            )
        )
    return found


def _twice(rows: list[tuple[str, Clip, Header]], labels: Sequence[str]) -> list[Finding]:
    same: dict[str, list[tuple[str, Clip]]] = defaultdict(list)
    for split, clip, header in rows:
        same[header.digest].append((split, clip))
    groups = [group for group in same.values() if len(group) > 1]
    across = [f"{group[0][1].name} = {group[1][1].name}" for group in groups if len({split for split, _ in group}) > 1]
    within = [group[0][1].name for group in groups if len({split for split, _ in group}) == 1]
    unclear = [group[0][1].name for group in groups if len({clip.label for _, clip in group}) > 1]
    found = []
    if across:
        found.append(
            Finding(
                f"{len(across)} clips are in more than one split: {_listed(across)}.", "leave them out of one; scores would lie"
            )
        )
    if unclear:
        found.append(Finding(f"{len(unclear)} clips have more than one label: {_listed(unclear)}.", "keep the right one"))
    if within:
        found.append(Finding(f"{len(within)} clips are there more than once: {_listed(within)}.", "they count that many times"))
    return found


def _sides(labels: Sequence[str], pairs: list[tuple[str, str]]) -> list[Finding]:
    alone = [label for label in mirrored_labels.sided(labels) if not any(label in pair for pair in pairs)]
    found = []
    if pairs:
        written = f"swap = {[list(pair) for pair in pairs]}".replace("'", '"')
        found.append(Finding("Labels tell left from right; a mirror exchanges them.", f"with augment.flip: {written}"))
    if alone:
        found.append(Finding(f"Labels have a side, but no label for the other: {_listed(alone)}.", "do not use augment.flip"))
    return found


def _told(leak: Leak) -> Finding:
    hints = {
        "frame rate": "set preprocess.fps, no higher than the lowest of them, so that all clips have one rate",
        "length": "let sampling take clips that are shorter than all of them; the recording, not the action, decides",
        "picture size": "set preprocess.resize to one fixed shape; mind that what is stretched differently still shows",
    }
    return Finding(f"The {leak.what} tells the class ({leak.share:.0%} of it): {leak.detail}.", hints[leak.what])


def _leaks(rows: list[tuple[str, Header]]) -> list[Leak]:
    """Properties that tell more about the class than chance would."""
    if not rows:
        return []
    classes = [label for label, _ in rows]
    lengths = np.array([header.seconds or header.frames for _, header in rows], float)
    aspects = np.array([header.width / max(1, header.height) for _, header in rows])
    sizes = [_size(h) for _, h in rows]
    many = len(set(sizes)) > MANY  # as where people were cut out of larger pictures: their shape tells, not each size
    shown = [f"{value:.3g} s" if rows[0][1].seconds else f"{value:.0f} frames" for value in lengths]
    properties: tuple[tuple[str, list[Hashable], list[str]], ...] = (
        ("frame rate", [_rate(h) for _, h in rows], [f"{_rate(h)} fps" for _, h in rows]),
        ("length", _bins(lengths), shown),
        ("picture size", _bins(aspects) if many else list(sizes), [f"{value:.2f}:1" for value in aspects] if many else sizes),
    )
    found = []
    for what, values, words in properties:
        share = _excess(classes, values)
        if share > LEAK:
            found.append(Leak(what, round(share, 3), _outliers(classes, values, words)))
    return found


def _bins(values: np.ndarray) -> list[Hashable]:
    """Fifths of the clips by value."""
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, 6)[1:-1]))
    return [int(place) for place in np.searchsorted(cuts, values, side="right")]


def _excess(classes: Sequence[Hashable], values: Sequence[Hashable]) -> float:
    """Mutual information of class and value beyond what shuffled values have, as a share of the class's entropy."""
    a, b = (np.unique([str(each) for each in column], return_inverse=True)[1] for column in (classes, values))
    if not a.any() or not b.any():  # one class, or one value
        return 0.0
    rng = np.random.default_rng(0)
    chance = [_information(a, rng.permutation(b)) for _ in range(20)]
    return max(0.0, (_information(a, b) - max(chance)) / _information(a, a))


def _information(a: np.ndarray, b: np.ndarray) -> float:
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1)
    joint /= len(a)
    alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / alone[there])).sum())


def _outliers(classes: Sequence[str], values: Sequence[Hashable], words: Sequence[str]) -> str:
    """The classes whose values lie farthest from everybody else's: `other 20 fps, the rest 30 fps`."""
    overall = Counter(values)
    common, total = overall.most_common(1)[0][0], len(values)
    usual = Counter(word for value, word in zip(values, words, strict=True) if value == common).most_common(1)[0][0]
    farthest = []
    for label in dict.fromkeys(classes):
        own = [(value, word) for each, value, word in zip(classes, values, words, strict=True) if each == label]
        mine = Counter(value for value, _ in own)
        distance = sum(abs(mine[value] / len(own) - overall[value] / total) for value in overall) / 2
        value = mine.most_common(1)[0][0]
        word = Counter(word for each, word in own if each == value).most_common(1)[0][0]
        farthest.append((distance, f"{label} {word} ({mine[value] / len(own):.0%})", value != common))
    telling = [text for _, text, odd in sorted(farthest, reverse=True) if odd] or [max(farthest)[1]]
    return f"{_listed(telling)}; most have {usual}"


BAR = 24


def render(found: Report, console: Console) -> None:
    """The report for people."""
    splits = list(found.splits)
    most = max((sum(counts.values()) for counts in found.classes.values()), default=1) or 1
    styles = dict(zip(splits, ("cyan", "yellow", "magenta"), strict=False))
    table = Table(box=None, padding=(0, 1))
    table.add_column("class", overflow="fold")
    for split in splits:
        table.add_column(split, justify="right", style=styles.get(split))
    table.add_column("")
    for label, counts in found.classes.items():
        bar = Text()
        for split in splits:
            bar.append("█" * round(BAR * counts[split] / most), styles.get(split))
        table.add_row(label, *(str(counts[split]) if counts[split] else "–" for split in splits), bar)
    table.add_section()
    table.add_row(f"{len(found.classes)} classes", *(str(found.splits[split]) for split in splits), "")
    facts = Table(box=None, padding=(0, 1), show_header=False)
    facts.add_row("frames", _range(found.frames, "g"))
    facts.add_row("seconds", _range(found.seconds, ".2f"))
    facts.add_row("frame rate", _values(found.rates))
    facts.add_row("picture size", _values(found.sizes))
    told: list[Text] = []
    for finding in found.findings:
        told.append(Text.assemble(("! ", "bold yellow"), finding.what, "\n  ", (finding.hint, "dim")))
    for title, lines in (("cannot be read", found.broken), ("left out or doubtful", found.problems)):
        if lines:
            shown = [*lines[:SHOWN], *([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])]
            told.append(Text.assemble((f"! {len(lines)} {title}\n", "bold yellow"), "\n".join(f"  {line}" for line in shown)))
    console.print(Group(table, Text(), facts, Text(), *(told or [Text("Nothing stands out.", "green")])))


def _range(values: tuple[float, float, float] | None, form: str) -> str:
    return "–" if values is None else "{} to {}, median {}".format(*(format(values[i], form) for i in (0, 2, 1)))


def _values(counts: dict[str, int]) -> str:
    pairs = [f"{value} ({count})" for value, count in counts.items()]
    return _listed(pairs) or "–"
