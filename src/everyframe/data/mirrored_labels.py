"""Labels that a mirror exchanges: swipes to the left and to the right, turns with and against the clock."""

from __future__ import annotations

import re
from collections.abc import Sequence

from everyframe.errors import RecipeError, meant
from everyframe.recipes.training import Augment

#: words that a mirror exchanges
WORDS = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("cw", "ccw"),
    ("cw", "acw"),
)
_OTHER: dict[str, list[str]] = {}
for _a, _b in WORDS:
    _OTHER.setdefault(_a, []).append(_b)
    _OTHER.setdefault(_b, []).append(_a)


def _words(label: str) -> tuple[str, ...]:
    """swipeLeft, swipe_left and Swipe Left are the same words; counter-clockwise is one."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", label).lower()
    return tuple(re.findall(r"[a-z0-9]+", re.sub(r"(counter|anti)[\s_-]+(?=clockwise)", r"\1", spaced)))


def sided(labels: Sequence[str]) -> list[str]:
    """Labels with a word that a mirror exchanges."""
    return [label for label in labels if any(word in _OTHER for word in _words(label))]


def pairs(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Labels that differ in nothing but such words."""
    by_words = {_words(label): label for label in labels}
    found: dict[tuple[str, str], None] = {}
    for label in labels:
        mirrored: list[tuple[str, ...]] = [()]
        for word in _words(label):
            mirrored = [(*done, other) for done in mirrored for other in _OTHER.get(word, [word])]
        partner = next((by_words[words] for words in mirrored if words in by_words), None)
        if partner is not None and partner != label and (partner, label) not in found:
            found[label, partner] = None
    return list(found)


def mirrored(labels: Sequence[str], augment: Augment) -> tuple[int, ...]:
    """For each class the one that its mirrored clips belong to. Raises RecipeError for pairs that name no label or one
    twice, and where labels tell left from right but the recipe says nothing about it.
    """
    result = list(range(len(labels)))
    if not augment.flip:
        return tuple(result)
    if augment.swap is None and (there := sided(labels)):
        proposed = pairs(labels)
        raise RecipeError(
            "These labels tell left from right, and a mirror exchanges them.",
            where="key augment.flip", got=", ".join(there[:6]), expected="augment.swap, or no flip",
            hint=f"swap = {[list(pair) for pair in proposed]}" if proposed else "flip = false",
        )  # fmt: skip
    for pair in augment.swap or ():
        for label in pair:
            if label not in labels:
                raise RecipeError(
                    "A pair of mirrored labels names one that is not there.", where="key augment.swap", got=label,
                    expected="two labels of the data", hint=meant(label, labels),
                )  # fmt: skip
        one, other = map(labels.index, pair)
        if result[one] != one or result[other] != other or one == other:
            raise RecipeError("A label stands in two pairs of mirrored labels.", where="key augment.swap", got=pair)
        result[one], result[other] = other, one
    return tuple(result)
