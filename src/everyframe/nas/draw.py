"""Where the networks of a search lie: time across, quality up."""

from __future__ import annotations

from collections.abc import Sequence

from everyframe.canvas import FAINT, HUES, INK, QUIET, SOFT, Canvas
from everyframe.evaluation.draw import ticks
from everyframe.nas.trials import RATES, Trial, best, front

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, FLOOR = 78, 876, 72, 460


def picture(trials: Sequence[Trial], target_ms: float, figure: str, title: str) -> bytes:
    """A PNG: a dot a network, darker the later it was judged; the line joins those than which none is both faster and better;
    the ring is round the one that was taken. The dashed line is the target.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    times, scores = [trial.ms for trial in trials], [trial.score for trial in trials]
    x0, x1 = _room(min(times), max(*times, target_ms))
    y0, y1 = _room(min(scores), max(scores))

    def at(ms: float, score: float) -> tuple[float, float]:
        return LEFT + (ms - x0) / (x1 - x0) * (RIGHT - LEFT), FLOOR - (score - y0) / (y1 - y0) * (FLOOR - TOP)

    canvas.text(24, 24, canvas.fit(title, 19, WIDTH - 48), 19)
    for tick in ticks(y0, y1, 6):
        canvas.line(LEFT, at(x0, tick)[1], RIGHT, at(x0, tick)[1], FAINT)
        canvas.text(LEFT - 8, at(x0, tick)[1], f"{tick:.4g}", 12, SOFT, "rm")
    for tick in ticks(x0, x1, 10):
        canvas.line(at(tick, y0)[0], TOP, at(tick, y0)[0], FLOOR, FAINT)
        canvas.text(at(tick, y0)[0], FLOOR + 16, f"{tick:g}", 12, SOFT, "mm")
    canvas.text((LEFT + RIGHT) / 2, FLOOR + 40, "milliseconds, by the latency model", 13, SOFT, "mm")
    edge = at(target_ms, y0)[0]
    canvas.path([(edge, TOP), (edge, FLOOR)], QUIET, 1.6, 6)
    line = [at(trial.ms, trial.score) for trial in front(trials)]
    if len(line) > 1:
        canvas.path(line, QUIET, 1.6)
    for place, trial in enumerate(trials):
        hue, late = HUES[1 if trial.stage == RATES else 0], (place + 1) / len(trials)
        canvas.dot(*at(trial.ms, trial.score), 5, tuple(round(255 - (255 - tone) * (0.35 + 0.65 * late)) for tone in hue))
    taken = best(trials)
    x, y = at(taken.ms, taken.score)
    for radius, color in ((10, INK), (7.5, (255, 255, 255)), (5, HUES[1 if taken.stage == RATES else 0])):
        canvas.dot(x, y, radius, color)
    _legend(canvas, figure, any(trial.stage == RATES for trial in trials), target_ms)
    return canvas.png()


def _legend(canvas: Canvas, figure: str, rates: bool, target_ms: float) -> None:
    canvas.text(24, 52, figure, 13, SOFT)
    at = 24 + canvas.width_of(figure, 13) + 30
    for hue, name in ((HUES[0], "architecture"), *(((HUES[1], "pruning rates"),) if rates else ())):
        canvas.dot(at, 52, 5, hue)
        canvas.text(at + 10, 52, name, 13)
        at += canvas.width_of(name, 13) + 34
    canvas.dot(at, 52, 8, INK)
    canvas.dot(at, 52, 6, (255, 255, 255))
    canvas.text(at + 13, 52, "taken", 13)
    at += 66
    canvas.path([(at, 52), (at + 24, 52)], QUIET, 1.6, 6)
    canvas.text(at + 30, 52, f"target, {target_ms:.3g} ms", 13)


def _room(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or abs(high) * 0.02 or 1.0
    return low - room, high + room
