"""One HTML page that holds everything: no scripts, no other files, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from everyframe.evaluation.result import Figures, Result, Score
from everyframe.pages import document, image, table

SHOWN = 200  # rows of a list on the page; the files have all


@dataclass(frozen=True)
class Section:
    """A part of the page that somebody else fills. text: paragraphs. rows: of a table. pictures: file name -> PNG."""

    title: str
    text: Sequence[str] = ()
    heading: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def page(
    title: str,
    result: Result | None,
    pictures: Mapping[str, bytes],
    epochs: Sequence[Mapping[str, Any]] = (),
    recipe: str = "",
    environment: Mapping[str, Any] | None = None,
    sections: Sequence[Section] = (),
) -> str:
    """pictures: file name -> PNG, of those that `report.write` makes."""
    parts = [f"<h1>{escape(title)}</h1>"]
    if result is not None:
        parts += [_where(result), *_warnings(result), _cards(result), _live(result)]
        parts += _picture("accuracy_over_time.png", pictures, "What a live user gets")
        parts += [_conditions(result)]
        parts += _picture("reliability.png", pictures, "Are scores what they promise?")
    parts += _picture("curves.png", pictures, f"Training, {len(epochs)} epochs")
    parts += [_section(section) for section in sections]
    if result is not None:
        parts += _picture("confusion.png", pictures, "Confusion, whole videos")
        parts += _picture("confusion_stream.png", pictures, "Confusion, stream at the video's end")
        parts += [_mistaken(result), _classes(result), _videos(result)]
    if recipe:
        parts.append(f"<h2>Recipe</h2><pre>{escape(recipe.strip())}</pre>")
    if environment:
        rows = [[escape(str(key)), escape(str(value))] for key, value in _flat(environment).items()]
        parts.append("<h2>Environment</h2>" + table(["", ""], rows, words={1}))
    return document(title, parts)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"


def _where(result: Result) -> str:
    clips = f", clips of {result.clip_frames} frames ({result.view})" if result.clip_frames else ""
    part = f" ({escape(result.part)})" if result.part else ""
    return (
        f'<p class="soft">{escape(result.model)} on {escape(result.data or "the data")}, split {escape(result.split)}{part}: '
        f"{result.videos} videos, {len(result.labels)} labels{clips}</p>"
    )


def _warnings(result: Result) -> list[str]:
    lines = []
    if result.partial:
        lines.append(f"Partial: ended after {result.videos + result.unreadable} of {result.planned} videos.")
    if result.unreadable:
        lines.append(f"{result.unreadable} videos could not be read and do not count.")
    warned = [f'<p class="warn">{"<br>".join(escape(line) for line in lines)}</p>'] if lines else []
    return warned + [f'<p class="soft">{escape(note[0].upper() + note[1:])}.</p>' for note in result.notes]


def _cards(result: Result) -> str:
    normal = result.conditions["normal"]
    cards = []
    if normal.streaming is not None:
        cards += [
            _card("stream, at the video's end", normal.streaming.end, live=True),
            _card("stream, all frames", normal.streaming.frames),
            _card("stream, averaged", normal.streaming.average),
        ]
    if normal.video is not None:
        cards += [_card("clip network, whole video", normal.video)]
    if normal.clip is not None and normal.video is not None and normal.clip.count != normal.video.count:
        cards += [_card("clip network, each clip", normal.clip)]
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(what: str, score: Score | None, live: bool = False) -> str:
    if score is None:
        return ""
    more = [f"top-5 {percent(score.top5)}"]
    if score.low is not None and score.high is not None:
        more.append(f"95 %: {score.low * 100:.0f} to {score.high * 100:.0f}")
    kind = "card live" if live else "card"
    return f'<div class="{kind}"><span>{what}</span><b>{percent(score.top1)}</b><span class="soft">{", ".join(more)}</span></div>'


def _live(result: Result) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in live(result))


def live(result: Result) -> list[str]:
    """Sentences on timing, for the page and the terminal."""
    timing, streaming = result.timing, result.conditions["normal"].streaming
    if timing is None or streaming is None:
        return []
    rate = f"{timing.rate:g} frames a second" + (", assumed: the model names no rate" if timing.rate_assumed else "")
    each = "every frame" if timing.hop == 1 else f"every {timing.hop} frames"
    lines = [
        f"A prediction at {each}, {timing.feature_delay_frames} frames ({timing.feature_delay_ms:.0f} ms) behind; its window of "
        f"{timing.window} is full after {timing.delay_frames} frames ({timing.delay_ms:.0f} ms). {rate}."
    ]
    if (found := streaming.decided) is not None and found.frames is not None:
        told = f"{percent(found.right)} of the videos are told right and {percent(found.wrong)} wrong"
        lines.insert(
            0,
            f"Acted on at the first score of {found.threshold:.2f} or more, {told} (at most {percent(found.allowed)} allowed, on "
            f"these videos); half of the right ones after {found.frames:g} frames ({found.seconds:.2f} s, "
            f"{(found.share or 0) * 100:.0f} % of the video).",
        )
    settled = streaming.settled
    if settled.frames is not None and settled.seconds is not None and settled.share is not None:
        lines.append(
            f"{settled.videos} of {result.videos} videos end right; half of those are right for good after "
            f"{settled.frames:g} frames ({settled.seconds:.2f} s, {settled.share * 100:.0f} % of the video)."
        )
    if streaming.silent:
        held = (
            "their last frame was held until there was one"
            if result.flush
            else "they count as wrong; --flush holds the last frame"
        )
        lines.append(f"{streaming.silent} videos are too short for a prediction: {held}.")
    elif result.flush:
        lines.append("At each video's end its last frame was held until the network had fully seen it.")
    return lines


#: name, what of a condition it shows
MEASURES = (
    ("clip top-1", lambda c: c.clip and c.clip.top1),
    ("video top-1", lambda c: c.video and c.video.top1),
    ("video top-5", lambda c: c.video and c.video.top5),
    ("stream end top-1", lambda c: c.streaming and c.streaming.end.top1),
    ("stream end top-5", lambda c: c.streaming and c.streaming.end.top5),
    ("stream average top-1", lambda c: c.streaming and c.streaming.average.top1),
    ("stream frames top-1", lambda c: c.streaming and c.streaming.frames and c.streaming.frames.top1),
    ("stream frames top-5", lambda c: c.streaming and c.streaming.frames and c.streaming.frames.top5),
)


def _conditions(result: Result) -> str:
    rows = [[heading, *(percent(pick(c)) for c in result.conditions.values())] for heading, pick in MEASURES]
    said = "".join(f'<p class="soft">{escape(line)}</p>' for line in beside(result))
    return "<h2>Accuracy</h2>" + table(["frames", *result.conditions], rows) + said


PLACES = {"video": "whole videos", "stream": "stream, at the video's end"}


def beside(result: Result) -> list[str]:
    """Sentences without which the accuracies cannot be judged."""
    lines = [f"Always saying the most frequent label would be right for {percent(result.most_frequent)} of the videos."]
    if result.balanced:
        shares = ", ".join(f"{percent(share)} ({PLACES[where]})" for where, share in result.balanced.items())
        lines.append(f"With each class weighing the same (balanced accuracy): {shares}.")
    if result.others is not None:
        named = {"video": result.others.video, "stream": result.others.stream}
        shares = ", ".join(f"{percent(share)} ({PLACES[where]})" for where, share in named.items() if share is not None)
        lines.append(
            f"Most videos are of {result.others.without}. The {result.others.classes} other classes alone, told from each other "
            f"in {result.others.videos} videos: {shares}."
        )
    if result.calibration:
        errors = ", ".join(
            f"{one.ece * 100:.1f} % ({PLACES[where]}; "
            + (
                f"{one.best_ece * 100:.1f} % with logits divided by {one.temperature:.2g}, fitted on other videos of these)"
                if one.temperature != 1
                else "no temperature that fits some of these videos helps the others)"
            )
            for where, one in result.calibration.items()
        )
        lines.append(f"Expected calibration error, the distance between scores and the share that is right: {errors}.")
    if len(result.conditions) > 1:
        lines.append(
            "Reversed, shuffled and frozen frames are controls: a network that goes by motion loses by them, one that goes by "
            "single pictures does not."
        )
    return lines


def _mistaken(result: Result) -> str:
    counts = result.confusion or result.confusion_streaming
    if counts is None:
        return ""
    errors = np.array(counts)
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:10]
    pairs = [(int(at) // len(errors), int(at) % len(errors)) for at in order if errors.flat[at]]
    if not pairs:
        return ""
    totals = np.array(counts).sum(1)
    rows = [
        [escape(result.labels[t]), escape(result.labels[p]), str(errors[t, p]), percent(errors[t, p] / totals[t])]
        for t, p in pairs
    ]
    return "<h2>Most often mistaken</h2>" + table(["truth", "taken for", "videos", "of the class"], rows, words={1})


def _classes(result: Result) -> str:
    both = [kind for kind in ("video", "streaming") if any(getattr(row, kind) for row in result.classes)]
    names = {"video": "video", "streaming": "stream end"}
    heading = ["class", "videos", *(f"{names[kind]} {what}" for kind in both for what in ("precision", "recall", "F1"))]
    rows = [
        [escape(row.label), str(row.count), *(cell for kind in both for cell in _figures(getattr(row, kind)))]
        for row in result.classes
    ]
    return "<h2>Classes</h2>" + table(heading, rows)


def _figures(figures: Figures | None) -> list[str]:
    return ["–"] * 3 if figures is None else [percent(figures.precision), percent(figures.recall), percent(figures.f1)]


def _videos(result: Result) -> str:
    """What went wrong first: the surest mistakes, then the unreadable."""
    said = [(row.prediction or row.stream_prediction, row.score or row.stream_score or 0.0, row) for row in result.rows]
    wrong = sorted(((s, p, r) for p, s, r in said if not r.error and p != r.truth), key=lambda found: -found[0])
    rows = [
        [escape(r.video), escape(r.truth), escape(p or "nothing"), f"{s:.2f}", escape(r.stream_prediction or "–")]
        for s, p, r in wrong[:SHOWN]
    ]
    unread = [[escape(r.video), escape(r.error)] for r in result.rows if r.error]
    found = ""
    if rows:
        more = f" (the first {SHOWN}; predictions.csv has all)" if len(wrong) > SHOWN else ""
        found += f"<h2>Wrong videos</h2><details><summary>{len(wrong)} videos{more}, the surest first</summary>"
        found += table(["video", "truth", "prediction", "score", "stream at the end"], rows) + "</details>"
    if unread:
        found += "<h2>Unreadable videos</h2>" + table(["video", "why"], unread[:SHOWN], words={1})
    return found


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(line)}</p>" for line in section.text)]
    if section.rows:
        parts.append(table(section.heading, [[escape(str(cell)) for cell in row] for row in section.rows]))
    parts += [image(data, name) for name, data in section.pictures.items()]
    return "".join(parts)


def _picture(name: str, pictures: Mapping[str, bytes], heading: str) -> list[str]:
    if name not in pictures:
        return []
    return [f"<h2>{escape(heading)}</h2>" + image(pictures[name], heading)]


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found
