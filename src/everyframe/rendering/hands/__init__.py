"""Hand motions, in the order in which data passes through the modules.

motions      what a hand does: labels, gestures, the script that strings them together (a path and its truth)
negatives    what a hand does that must be recognized as nothing
performance  a whole stream of either
actors       hands, arms, people: signed distances turned into gray values
scene        one stream: all of the above, (frames, height, width) uint8 with its truth
dataset      many streams: per-frame targets, a pool, flips
sample       the clip shipped with the package
"""

from everyframe.rendering.hands.motions import LABELS

__all__ = ["LABELS"]
