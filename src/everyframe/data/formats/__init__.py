"""The forms in which labeled clips come. `data.format` of a recipe names one; `read` makes a `Collection` of it."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from everyframe.data.clips import Clip, Collection, held_out
from everyframe.data.formats import folders, ids, kinetics, lists, published, spans
from everyframe.data.formats.text import Places, Reading, Row, Wanted
from everyframe.errors import RecipeError, SourceError, meant
from everyframe.recipes.training import Data
from everyframe.video.sources import natural


@dataclass(frozen=True)
class Format:
    """train, validation, labels: where they usually are, below root, if the recipe does not say. lists: False where a
    list is not needed.
    """

    read: Callable[[Wanted], Reading]
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    lists: bool = True


def _below(folder: str, *names: str) -> tuple[str, ...]:
    return (*names, *(f"{folder}/{name}" for name in names))


FORMATS: dict[str, Format] = {
    "folders": Format(folders.read, lists=False),
    "list": Format(lists.read),
    "spans": Format(spans.read, ("spans.csv",), ("spans_val.csv",)),
    "kinetics": Format(
        kinetics.read, _below("annotations", "train.csv"), _below("annotations", "val.csv", "validate.csv", "validation.csv")
    ),
    "jester": Format(
        ids.read,
        _below("annotations", "jester-v1-train.csv", "train.csv", "trainlist01.txt", "trainlist.txt"),
        _below("annotations", "jester-v1-validation.csv", "validation.csv", "vallist01.txt", "vallist.txt"),
        _below("annotations", "jester-v1-labels.csv", "labels.csv", "classInd.txt"),
    ),
    "something": Format(
        ids.read,
        _below("annotations", "something-something-v2-train.json", "train.json", "something-something-v1-train.csv"),
        _below(
            "annotations", "something-something-v2-validation.json", "validation.json", "something-something-v1-validation.csv"
        ),
        _below("annotations", "something-something-v2-labels.json", "labels.json", "something-something-v1-labels.csv"),
    ),
    "ucf101": Format(
        published.ucf101,
        _below("ucfTrainTestlist", "trainlist01.txt"),
        _below("ucfTrainTestlist", "testlist01.txt"),
        _below("ucfTrainTestlist", "classInd.txt"),
    ),
    "hmdb51": Format(published.hmdb51, ("testTrainMulti_7030_splits", "splits", ".")),
    "efficient3d": Format(published.efficient3d),
}


def read(data: Data, root: Path) -> Collection:
    """The clips that `data` describes. root: the folder that `data.root` is relative to.

    Raises RecipeError for an unknown format or lists that are not there, SourceError for annotations that cannot be
    understood, and, where `data.broken` is "refuse", for clips that are missing; otherwise those are left out and named in
    `problems`.
    """
    if data.format not in FORMATS:
        raise RecipeError(
            "There is no such format of annotations.", where="key data.format", expected=", ".join(FORMATS), got=data.format,
            hint=meant(data.format, FORMATS, "docs/data.md shows each of them", cutoff=0.4),
        )  # fmt: skip
    wanted = _wanted(data, FORMATS[data.format], (root / data.root).absolute())
    reading = FORMATS[data.format].read(wanted)
    if not any(row.split == "train" for row in reading.rows):
        raise SourceError("There are no clips for training.", where=wanted.lists.get("train", wanted.root))
    names, numbers, problems = _numbered(reading, wanted)
    problems = [*reading.problems, *problems]
    places = Places(wanted.root)
    splits: dict[str, list[Clip]] = {}
    for row in reading.rows:
        try:
            splits.setdefault(row.split, []).append(places.clip(row, numbers.get(row.label, -1)))
        except SourceError as error:
            if data.broken == "refuse":
                raise SourceError(
                    error.what, where=error.where, expected=error.expected, got=error.got,
                    hint='data.broken = "skip" leaves such clips out',
                ) from None  # fmt: skip
            problems.append(f"{error.where}: {error.what} " + (f"({error.got})" if error.got else ""))
    if not splits.get("train"):
        raise SourceError(
            "None of the clips for training is there.", where=wanted.root, got=problems[-1] if problems else None,
            hint="check data.root",
        )  # fmt: skip
    held = "validation" not in splits
    if held:
        splits["train"], splits["validation"] = map(list, held_out(splits["train"], data.holdout))
        away = {clip.group for clip in splits["validation"]} - {clip.group for clip in splits["train"]} - {None}
        if away:
            problems.append(f"whole groups are held out for validation: {', '.join(sorted(map(str, away), key=natural))}")
    order = ("train", "validation", "test")
    ordered: dict[str, tuple[Clip, ...]] = {split: tuple(splits[split]) for split in order if split in splits}
    return Collection(names, ordered, tuple(problems), held)


def _wanted(data: Data, form: Format, root: Path) -> Wanted:
    if not root.is_dir():
        raise RecipeError("The folder of the clips is not there.", where="key data.root", got=root)
    lists: dict[str, Path] = {}
    for split, said, usual in (("train", data.train, form.train), ("validation", data.validation, form.validation)):
        if said is not None:
            path = root / said
            if not (path.exists() or (not Path(said).is_absolute() and any(root.glob(said)))):
                raise RecipeError("The list of clips is not there.", where=f"key data.{split}", got=path)
            lists[split] = path
        elif found := next((root / name for name in usual if (root / name).exists()), None):
            lists[split] = found
    if form.lists and "train" not in lists:
        raise RecipeError(
            "This format needs a list of clips.", where="key data.train", got="nothing",
            expected=f"a file, or one of {', '.join(form.train)} in {root}" if form.train else f"a file, relative to {root}",
        )  # fmt: skip
    labels = root / data.labels if data.labels else next((root / n for n in form.labels if (root / n).exists()), None)
    if labels and not labels.is_file():
        raise RecipeError("The list of labels is not there.", where="key data.labels", got=labels)
    return Wanted(root, lists, labels)


def _numbered(reading: Reading, wanted: Wanted) -> tuple[tuple[str, ...], dict[str | int | None, int], list[str]]:
    """(names of the classes, label as written -> its class, problems)."""
    for row in reading.rows:
        if row.label is None and row.split != "test":
            raise SourceError("This clip has no label.", where=row.place, got=row.name)
    written = {row.label: row for row in reversed(reading.rows) if row.label is not None}
    if any(isinstance(label, int) for label in written) and any(isinstance(label, str) for label in written):
        odd = next(row for label, row in written.items() if isinstance(label, str))
        raise SourceError("Some labels are numbers and some are names.", where=odd.place, got=odd.label)
    if all(isinstance(label, str) for label in written):
        return _by_name(written, reading, wanted)
    return _by_number(written, reading, wanted)


def _by_name(
    written: dict[str | int, Row], reading: Reading, wanted: Wanted
) -> tuple[tuple[str, ...], dict[str | int | None, int], list[str]]:
    # lists and labels of one data set, and folders of its splits, differ in underscores and capitals
    names, problems = (tuple(reading.labels.values()), []) if reading.labels else _spelled(reading)
    plain = {_plain(name): number for number, name in enumerate(names)}
    for label, row in written.items():
        if label not in names and _plain(str(label)) not in plain:
            raise SourceError(
                "This label is not in the list of labels.", where=row.place, expected=f"one of {wanted.labels or 'its labels'}",
                got=label, hint=meant(str(label), names),
            )  # fmt: skip
    exact = {name: number for number, name in enumerate(names)}
    return names, {label: exact.get(str(label), plain[_plain(str(label))]) for label in written}, problems


def _spelled(reading: Reading) -> tuple[tuple[str, ...], list[str]]:
    """(names, problems): one name for labels that differ in capitals and underscores only, the one that most clips have."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for row in reading.rows:
        if row.label is not None:
            spellings[_plain(str(row.label))][str(row.label)] += 1
    chosen = [max(found, key=lambda name: (found[name], name)) for found in spellings.values()]
    problems = [f"{' and '.join(sorted(found))} are taken for one class" for found in spellings.values() if len(found) > 1]
    return tuple(sorted(chosen, key=natural)), problems


def _by_number(
    written: dict[str | int, Row], reading: Reading, wanted: Wanted
) -> tuple[tuple[str, ...], dict[str | int | None, int], list[str]]:
    found = {label for label in written if isinstance(label, int)}
    lowest, highest = min(found), max(found)
    names = reading.labels or {number: str(number) for number in range(min(lowest, 1), highest + 1)}
    # numbers of lists and of labels may begin with 0 or 1, each on their own
    shift = next((by for by in (0, -1, 1) if all(number + by in names for number in found)), None)
    if shift is None:
        odd = max(found - names.keys(), key=abs)
        raise SourceError(
            "This label is not in the list of labels.", where=written[odd].place, got=odd,
            expected=f"{min(names)} to {max(names)}, as in {wanted.labels or 'its labels'}",
        )  # fmt: skip
    position = {number: place for place, number in enumerate(names)}
    problems = []
    if shift:
        problems.append(
            f"{written[lowest].place}: labels are numbered {lowest} to {highest}; {lowest} is {names[lowest + shift]!r}"
        )
    elif reading.labels is None and lowest == 1:
        problems.append(f"{written[lowest].place}: labels are numbered from 1 to {highest}; there is no 0")
    return tuple(names.values()), {number: position[number + shift] for number in found}, problems


def _plain(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).replace("_", " ").casefold().split())
