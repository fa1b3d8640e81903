"""Lists of spans of long recordings: how they are read, what is cut, and events against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everyframe
from everyframe.data import formats
from everyframe.data.formats import spans
from everyframe.data.formats.text import Wanted
from everyframe.data.truths import Spans
from everyframe.errors import SourceError, UsageError
from everyframe.evaluation.spans import assigned
from everyframe.recipes.training import Data
from everyframe.rendering.hands import dataset
from everyframe.runtime.events import Event
from everyframe.teaching.examples import marked as marked_examples
from everyframe.teaching.record import encode
from everyframe.video.frame import Frame

FPS, QUIET = 12.0, 24
LABELS = ("swipe_down", "wave")


def recording(path: Path, seed: int, count: int) -> list[tuple[float, float, str]]:
    """Gestures in turn, with a still picture before each: what is written, and the spans."""
    frames, parts = list[np.ndarray](), []
    for number in range(count):
        for i, label in enumerate(LABELS):
            shown = dataset.streams(
                "test", seed + i, range(number, number + 1), frames=60, fps=FPS, label=label, negative=False, single=True
            )
            (stroke,) = shown.intervals[0]
            video = shown.video[0][int(stroke.start_s * FPS) : int(stroke.end_s * FPS) + 3]
            frames += [video[0]] * QUIET
            parts.append((len(frames) / FPS, (len(frames) + len(video)) / FPS, label))
            frames += list(video)
    path.write_bytes(encode([Frame(np.repeat(f[..., None], 3, 2), i / FPS, i) for i, f in enumerate(frames)]))
    return parts


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("long")
    parts = recording(root / "day.mp4", 60, 4)
    lines = ["file,start,end,label", *(f"day.mp4,{b:.3f},{e:.3f},{label}" for b, e, label in parts)]
    (root / "spans.csv").write_text("\n".join(lines) + "\n")
    (root / "day.txt").write_text("".join(f"{b:.3f}\t{e:.3f}\t{label}\n" for b, e, label in parts))
    slots = [round(1000 * t) for b, e, _ in parts for t in (b, e)]
    (root / "day.eaf").write_text(
        '<ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/day.mp4" RELATIVE_MEDIA_URL="./day.mp4"/></HEADER>'
        + "<TIME_ORDER>"
        + "".join(f'<TIME_SLOT TIME_SLOT_ID="t{i}" TIME_VALUE="{ms}"/>' for i, ms in enumerate(slots))
        + '</TIME_ORDER><TIER TIER_ID="g">'
        + "".join(
            f'<ANNOTATION><ALIGNABLE_ANNOTATION TIME_SLOT_REF1="t{2 * i}" TIME_SLOT_REF2="t{2 * i + 1}">'
            f"<ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
            for i, (*_, label) in enumerate(parts)
        )
        + "</TIER></ANNOTATION_DOCUMENT>"
    )
    return root


@pytest.mark.parametrize("name", ["day.txt", "day.eaf"])
def test_every_form_says_the_same(marked: Path, name: str) -> None:
    ((one, parts),) = spans.recordings(marked / "spans.csv")
    ((other, same),) = spans.recordings(marked / name)
    assert one.clip.path == other.clip.path and isinstance(one.truth, Spans)
    assert [label for *_, label in parts] == [label for *_, label in same] and len(parts) == 8
    np.testing.assert_allclose([p[:2] for p in parts], [p[:2] for p in same], atol=2e-3)


def test_of_elan_the_uppermost_tiers_are_read(marked: Path) -> None:
    """Parts of a gesture in a tier below it are no gestures; what was read is told."""
    text = (marked / "day.eaf").read_text()
    begin, end = text.index("<TIER"), text.index("</ANNOTATION_DOCUMENT>")
    below = text[begin:end].replace('TIER_ID="g"', 'TIER_ID="phase" PARENT_REF="g"')
    below = below.replace("<ANNOTATION_VALUE>", "<ANNOTATION_VALUE>its ")
    (marked / "deep.eaf").write_text(text[:begin] + below + text[begin:])
    (marked / "only.eaf").write_text(text[:begin] + '<TIER TIER_ID="g"/>' + below + text[end:])
    problems: list[str] = []
    assert spans.recordings(marked / "deep.eaf", problems=problems)[0][1] == spans.recordings(marked / "day.eaf")[0][1]
    assert len(problems) == 1 and "read g; left out what lies in a tier below: phase" in problems[0]
    ((_, parts),) = spans.recordings(marked / "only.eaf")
    assert {label for *_, label in parts} == {f"its {label}" for label in LABELS}


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.eaf").write_text("<ANNOTATION")
    with pytest.raises(SourceError, match=r"a\.eaf"):
        spans.recordings(tmp_path / "a.eaf")
    (tmp_path / "b.txt").write_text("0.5\t1.5\twave\nnot\ta\n")
    with pytest.raises(SourceError, match="line 2"):
        spans.recordings(tmp_path / "b.txt")
    (tmp_path / "c.csv").write_text("file,start,end,label\nnowhere.mp4,1,2,wave\n")
    with pytest.raises(SourceError, match=r"nowhere\.mp4"):
        spans.recordings(tmp_path / "c.csv")


def test_lists_as_spreadsheets_write_them(marked: Path) -> None:
    """Semicolons, decimal commas, a byte order mark, columns in any order: the same spans."""
    ((_, parts),) = spans.recordings(marked / "spans.csv")
    rows = [
        f"{label};seen twice;{e:.3f};{b:.3f};day.mp4".replace(".", ",").replace("day,mp4", "day.mp4") for b, e, label in parts
    ]
    (marked / "sheet.csv").write_text("\r\n".join(["Label;Notes;End;Start;File", *rows]), encoding="utf-8-sig")
    ((_, same),) = spans.recordings(marked / "sheet.csv")
    assert same == parts


def test_the_line_that_is_wrong_is_named_and_what_is_not_there_is_told(marked: Path) -> None:
    (marked / "wrong.csv").write_text("file,start,end,label\nday.mp4,1,2,wave\nday.mp4,4,3,wave\n")
    with pytest.raises(SourceError, match=r"wrong\.csv, line 3"):
        spans.recordings(marked / "wrong.csv")
    rows = "day.mp4,1,2,wave\nnowhere.mp4,1,2,wave\nday.mp4,3,900,swipe_down\nday.mp4,800,801,wave\n"
    (marked / "some.csv").write_text(f"file,start,end,label\n{rows}")
    found = spans.read(Wanted(marked, {"train": marked / "some.csv"}, None))
    missing, cut, left = found.problems
    assert "nowhere.mp4" in missing and "swipe_down from 3 to 900 s, cut" in cut and "wave from 800 to 801 s, left out" in left
    assert {row.label for row in found.rows if row.span and row.span[0] < 4} >= {"wave", "swipe_down"}
    assert all(row.span and row.span[0] < 800 for row in found.rows)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 8)), max_size=8))
def test_what_lies_between_touches_no_span_and_leaves_nothing_long_out(given_: list[tuple[float, float]]) -> None:
    parts = [(begin, begin + length, "a") for begin, length in given_]
    found = spans.between(parts, 60.0)
    for begin, end in found:
        assert begin >= 0 and end <= 60 and end - begin >= spans.SHORTEST_S
        assert all(end <= b or e <= begin for b, e, _ in parts)
    for t in np.linspace(0, 60, 121):  # far from all spans and ends: in one of them
        if all(t < b - 1 or t > e + 1 for b, e, _ in parts) and 1 < t < 59:
            assert any(begin <= t <= end for begin, end in found)


def test_clips_for_training_are_cut_at_spans_and_between_them(marked: Path) -> None:
    found = formats.read(Data(format="spans", root=".", train="spans.csv"), marked)
    assert found.labels == ("none", "swipe_down", "wave")
    clips = [clip for split in found.splits.values() for clip in split]
    counts = {label: sum(clip.label == i for clip in clips) for i, label in enumerate(found.labels)}
    assert counts == {"swipe_down": 4, "wave": 4, "none": 4}, "as much background as of the most frequent label"
    ((_, parts),) = spans.recordings(marked / "spans.csv")
    for clip in clips:
        assert clip.span is not None
        if found.labels[clip.label] == "none":
            assert all(clip.span[1] <= b or e <= clip.span[0] for b, e, _ in parts)
    assert len({clip.name for clip in clips}) == len(clips)
    assert all(found.splits[split] for split in ("train", "validation"))


def test_teach_tells_spans_behind_the_end(marked: Path) -> None:
    (marked / "late.csv").write_text("file,start,end,label\nday.mp4,1,2,wave\nday.mp4,3,900,wave\nday.mp4,800,801,wave\n")
    notes: list[str] = []
    (clip,) = marked_examples(marked / "late.csv", notes)
    assert [begin for begin, *_ in clip.spans] == [1.0, 3.0]
    assert [("left out" in note, "cut" in note) for note in notes] == [(False, True), (True, False)]


def test_a_recording_teaches_and_is_measured(marked: Path, tmp_path: Path) -> None:
    taught = everyframe.teach("builtin", marked / "spans.csv", tmp_path / "mine.onnx")
    assert taught.learned.labels == ("none", *LABELS) and taught.counts == dict.fromkeys(LABELS, 4)
    assert 0 < taught.background_s < 8 * QUIET / FPS, "what a window remembers of a span is not background"
    found = everyframe.evaluate(tmp_path / "mine.onnx", marked / "spans.csv")
    assert isinstance(found, everyframe.api.outcomes.SpanEvaluation)
    assert found.all.spans == 8 and found.recordings == 1
    assert found.all.found == sum(row.found for row in found.labels) >= 4, "it was taught on these"
    with everyframe.open(tmp_path / "mine.onnx") as program:
        events = [p.event for p in program.predict(marked / "day.mp4") if p.event is not None]
    assert [(e["label"], e["pts_s"]) for e in found.events] == [(e.label, round(e.pts_s, 3)) for e in events]
    with pytest.raises(UsageError, match="no rule"):
        everyframe.evaluate(clip_model(tmp_path), marked / "spans.csv")


def clip_model(folder: Path) -> Path:
    from clips import clip_net
    from everyframe.modelfile.schema import Preprocess

    return clip_net(folder / "clip.onnx", labels=("swipe_down", "wave", "c", "d"), preprocess=Preprocess(resize=(12, 16)))


def test_events_belong_to_the_span_they_fall_into_or_the_one_that_just_ended() -> None:
    def at(*times: float, label: str = "a") -> list[Event]:
        return [Event(label, 1, 0.9, t) for t in times]

    parts = [(1.0, 2.0, "a"), (5.0, 6.0, "b")]
    own, none = assigned(parts, at(1.5, 2.5, 4.0, 5.5), late_s=1.0)
    assert [[e.pts_s for e in found] for found in own] == [[1.5], [5.5]]
    assert [e.pts_s for e in none] == [2.5, 4.0], "the span has its event already, and four seconds are too late"
    own, none = assigned(parts, at(2.9), late_s=1.0)
    assert [e.pts_s for e in own[0]] == [2.9] and not none
    overlapping = [(1.0, 3.0, "b"), (1.0, 3.0, "a")]
    own, _ = assigned(overlapping, at(2.0), late_s=1.0)
    assert [len(found) for found in own] == [0, 1], "to the one of its label"
