"""Each form of annotation gives the same clips as the others, and the traps of each: numbers, blanks, line ends, headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.data.clips import Clip, Collection, grouped, held_out
from everyframe.data.formats import FORMATS, read
from everyframe.errors import EveryframeError, RecipeError, SourceError
from everyframe.recipes.training import Data


def put(root: Path, *files: str, content: str | bytes = "") -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def pictures(root: Path, folder: str, count: int = 3, pattern: str = "{:05d}.jpg", first: int = 1) -> Path:
    return put(root, *(f"{folder}/{pattern.format(i)}" for i in range(first, first + count)))


def get(root: Path, form: str, **data: str) -> Collection:
    return read(Data.model_validate({"format": form, "root": str(root), **data}), Path("/nowhere"))


def told(found: Collection) -> dict[str, dict[str, str]]:
    """split -> {name without suffix or folder: label}"""
    name = lambda label: found.labels[label] if label >= 0 else "?"  # noqa: E731
    return {split: {clip.path.stem: name(clip.label) for clip in clips} for split, clips in found.splits.items()}


WANTED = {"train": {"a1": "clap", "b1": "wave"}, "validation": {"a2": "clap", "b2": "wave"}}
VIDEOS = ("clap/a1.mp4", "wave/b1.mp4", "clap/a2.mp4", "wave/b2.mp4")


def folders(root: Path) -> dict[str, str]:
    put(root, "train/clap/a1.mp4", "train/wave/b1.MKV", "val/clap/a2.mp4", "val/wave/b2.mp4", "readme.txt")
    return {}


def lists(root: Path) -> dict[str, str]:
    put(root, *VIDEOS)
    put(root, "t.txt", content="clap/a1.mp4 0\nwave/b1.mp4 1\n")
    put(root, "v.txt", content="clap/a2.mp4 0\nwave/b2.mp4 1\n")
    put(root, "names.txt", content="clap\nwave\n")
    return {"train": "t.txt", "validation": "v.txt", "labels": "names.txt"}


def frames_lists(root: Path) -> dict[str, str]:
    for name in ("a1", "a2", "b1", "b2"):
        pictures(root, name, 3, "img_{:05d}.jpg")
        pictures(root, name, 3, "flow_x_{:05d}.jpg")
    put(root, "t.txt", content="a1 3 1\nb1 3 2\n")
    put(root, "v.txt", content="a2 2 1\nb2 3 2\n")
    put(root, "classInd.txt", content="1 clap\n2 wave\n")
    return {"train": "t.txt", "validation": "v.txt", "labels": "classInd.txt"}


def kinetics(root: Path) -> dict[str, str]:
    ids = ("-a1_xyz_000010_000020", "b1_000000_000010")
    put(root, f"clap/{ids[0]}.mp4", f"train/wave/{ids[1]}.mp4", "a2.mp4", "val/b2_000003_000013.webm")
    put(root, "train.csv", content='label,youtube_id,time_start,time_end,split\nclap,-a1_xyz,10,20,train\n"wave",b1,0,10,train\n')
    put(root, "val.csv", content="label,youtube_id,time_start,time_end,split\nclap,a2,4.5,14.5,val\nwave,b2,3,13,val\n")
    return {}


def spans(root: Path) -> dict[str, str]:
    put(root, "a1.mp4", "b1.mp4", "a2.mp4", "b2.mp4")
    put(root, "spans.csv", content="file,start,end,label\na1.mp4,1,2.5,clap\nb1.mp4,0,1,wave\n")
    put(root, "spans_val.csv", content="file,start,end,label\na2.mp4,1,2.5,clap\nb2.mp4,0,1,wave\n")
    return {}


def jester(root: Path) -> dict[str, str]:
    for name in ("a1", "a2", "b1", "b2"):
        pictures(root, f"20bn-jester-v1/{name}")
    put(root, "jester-v1-train.csv", content="a1;clap\nb1;wave\n")
    put(root, "jester-v1-validation.csv", content="a2;clap\nb2;wave\n")
    put(root, "jester-v1-labels.csv", content="clap\nwave\n")
    return {}


def jester_numbers(root: Path) -> dict[str, str]:
    for name in ("a1", "a2", "b1", "b2"):
        pictures(root, name, first=0)
    put(root, "trainlist01.txt", content="a1 1\nb1 2\n")
    put(root, "vallist01.txt", content="a2 1\nb2 2\n")
    put(root, "classInd.txt", content="1 clap\n2 wave\n")
    return {}


def something(root: Path) -> dict[str, str]:
    put(root, "videos/a1.webm", "videos/b1.webm", "videos/a2.webm", "b2.webm")
    entry = lambda name, label: {"id": name, "label": "of no use", "template": f"[{label}]", "placeholders": []}  # noqa: E731
    put(root, "train.json", content=json.dumps([entry("a1", "clap"), entry("b1", "wave")]))
    put(root, "validation.json", content=json.dumps([entry("a2", "clap"), entry("b2", "wave")], indent=1))
    put(root, "labels.json", content='{"clap": "0", "wave": "1"}')
    return {}


def ucf101(root: Path) -> dict[str, str]:
    put(root, "clap/a1.avi", "wave/b1.avi", "UCF-101/clap/a2.avi")
    pictures(root, "wave/b2", pattern="image_{:05d}.jpg")
    put(root, "ucfTrainTestlist/trainlist01.txt", content="clap/a1.avi 1\nwave/b1.avi 2\n")
    put(root, "ucfTrainTestlist/testlist01.txt", content="clap/a2.avi\nwave/b2.avi\n")
    put(root, "ucfTrainTestlist/classInd.txt", content="1 clap\n2 wave\n")
    return {}


def hmdb51(root: Path) -> dict[str, str]:
    put(root, "clap/a1.avi", "clap/a2.avi", "clap/a3.avi", "wave/b1.avi", "wave/b2.avi")
    put(root, "splits/clap_test_split1.txt", content="a1.avi 1 \na2.avi 2 \na3.avi 0 \n")
    put(root, "splits/wave_test_split1.txt", content="b1.avi 1\nb2.avi 2\n")
    put(root, "splits/wave_test_split2.txt", content="b1.avi 2\nb2.avi 1\n")
    return {}


def efficient3d(root: Path) -> dict[str, str]:
    pictures(root, "a1")
    put(root, "wave/b1.mp4", "clap/a2.mp4", "wave/b2.mp4")
    rows = {"a1": ("training", "clap"), "b1": ("training", "wave"), "a2": ("validation", "clap"), "b2": ("validation", "wave")}
    database = {name: {"subset": subset, "annotations": {"label": label}} for name, (subset, label) in rows.items()}
    put(root, "x.json", content=json.dumps({"labels": ["clap", "wave"], "database": database}))
    return {"train": "x.json"}


def efficient3d_kinetics(root: Path) -> dict[str, str]:
    put(root, *VIDEOS)
    entry = lambda label: {"annotations": {"label": label}, "n_frames": 3}  # noqa: E731
    database = {"training": {"a1": entry("clap"), "b1": entry("wave")}, "validation": {"a2": entry("clap"), "b2": entry("wave")}}
    put(root, "k.json", content=json.dumps({"labels": ["clap", "wave"], "database": database}))
    return {"train": "k.json"}


LAYOUTS: dict[str, tuple[str, Callable[[Path], dict[str, str]]]] = {
    "folders": ("folders", folders), "list": ("list", lists), "list of folders": ("list", frames_lists),
    "spans": ("spans", spans),
    "kinetics": ("kinetics", kinetics), "jester": ("jester", jester), "jester numbers": ("jester", jester_numbers),
    "something": ("something", something), "something v1": ("something", jester_numbers), "ucf101": ("ucf101", ucf101),
    "hmdb51": ("hmdb51", hmdb51), "efficient3d": ("efficient3d", efficient3d),
    "efficient3d of kinetics": ("efficient3d", efficient3d_kinetics),
}  # fmt: skip


def test_every_format_is_tested() -> None:
    assert {form for form, _ in LAYOUTS.values()} == set(FORMATS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_clips_in_every_format(tmp_path: Path, layout: str) -> None:
    form, make = LAYOUTS[layout]
    data = make(tmp_path)
    if layout == "something v1":
        data = {"train": "trainlist01.txt", "validation": "vallist01.txt", "labels": "classInd.txt"}
    found = get(tmp_path, form, **data)
    short = {split: {name.lstrip("-")[:2]: label for name, label in clips.items()} for split, clips in told(found).items()}
    assert short == WANTED
    assert found.labels == ("clap", "wave")
    assert not found.problems
    for clips in found.splits.values():
        for clip in clips:
            assert all(Path(name).is_file() for name in clip.files()), clip


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "folders"])
def test_line_ends_and_byte_order_marks_change_nothing(tmp_path: Path, layout: str) -> None:
    form, make = LAYOUTS[layout]
    data = make(tmp_path)
    if layout == "something v1":
        data = {"train": "trainlist01.txt", "validation": "vallist01.txt", "labels": "classInd.txt"}
    before = get(tmp_path, form, **data)
    for path in tmp_path.rglob("*"):
        if path.suffix in (".txt", ".csv", ".json"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert get(tmp_path, form, **data) == before


class TestFolders:
    def test_one_class_is_called_as_most_of_its_clips_are(self, tmp_path: Path) -> None:
        put(tmp_path, "other/1.mp4", "other/2.mp4", "Other/3.mp4", "wave/1.mp4", "wave/2.mp4", "Wave/3.mp4", "Wave/4.mp4")
        found = get(tmp_path, "folders")
        assert found.labels == ("other", "wave")
        assert sum(clip.label == 0 for clips in found.splits.values() for clip in clips) == 3
        assert found.problems == ("Other and other are taken for one class", "Wave and wave are taken for one class")

    def test_a_folder_that_the_recipe_names_needs_no_name_of_a_split(self, tmp_path: Path) -> None:
        put(tmp_path, "mine/wave/1.mp4", "mine/wave/2.mp4", "val/wave/1.mp4")
        found = get(tmp_path, "folders", train="mine")
        assert [len(clips) for clips in found.splits.values()] == [2, 1]
        assert not found.problems
        put(tmp_path, "train/wave/1.mp4")
        (problem,) = get(tmp_path, "folders", train="mine").problems
        assert "train: no folder of a split that is read" in problem


class TestPictures:
    @pytest.mark.parametrize("first", [0, 1, 17])
    @pytest.mark.parametrize("pattern", ["{:05d}.jpg", "img_{:05d}.png", "frame{:d}.JPG", "a{{b}}_{:03d}.bmp"])
    def test_any_numbering(self, tmp_path: Path, first: int, pattern: str) -> None:
        pictures(tmp_path, "train/clap/one", 120, pattern, first)
        pictures(tmp_path, "val/clap/two", 120, pattern, first)
        (clip,) = get(tmp_path, "folders").splits["train"]
        assert (clip.first, clip.count) == (first, 120)
        assert [Path(name).name for name in clip.files()] == [pattern.format(i) for i in range(first, first + 120)]

    def test_gaps_and_short_folders_are_told_and_left_out(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            pictures(tmp_path, name, 5)
        (tmp_path / "b/00003.jpg").unlink()
        put(tmp_path, "l.txt", content="a 5 0\nb 5 0\nc 6 0\n")
        found = get(tmp_path, "list", train="l.txt", validation="l.txt")
        assert [clip.name for clip in found.splits["train"]] == ["a"]
        assert any("number 3" in problem for problem in found.problems)
        assert any("5 pictures" in problem for problem in found.problems)

    def test_several_rows_without_a_usual_name_are_refused(self, tmp_path: Path) -> None:
        pictures(tmp_path, "train/clap/one", 3, "u_{:d}.png")
        pictures(tmp_path, "train/clap/one", 3, "v_{:d}.png")
        with pytest.raises(SourceError, match="several rows"):
            get(tmp_path, "folders", broken="refuse")


class TestKinetics:
    def test_uncut_files_are_read_within_their_times(self, tmp_path: Path) -> None:
        kinetics(tmp_path)
        clip = get(tmp_path, "kinetics").splits["validation"][0]
        assert (clip.path.name, clip.span) == ("a2.mp4", (4.5, 14.5))

    def test_one_csv_with_all_splits(self, tmp_path: Path) -> None:
        put(tmp_path, "a_000000_000010.mp4", "b_000000_000010.mp4", "c_000000_000010.mp4")
        rows = "clap,a,0,10,train\nclap,b,0,10,validate\n,c,0,10,test\n"
        put(tmp_path, "all.csv", content="label,youtube_id,time_start,time_end,split,is_cc\n" + rows)
        found = get(tmp_path, "kinetics", train="all.csv")
        assert {split: [clip.label for clip in clips] for split, clips in found.splits.items()} == {
            "train": [0], "validation": [0], "test": [-1],
        }  # fmt: skip

    @pytest.mark.parametrize("text", ["label,id\n", "label,youtube_id,time_start,time_end\nx,a,ten,20\n"])
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str) -> None:
        put(tmp_path, "t.csv", content=text)
        with pytest.raises(SourceError, match=r"t\.csv"):
            get(tmp_path, "kinetics", train="t.csv")


def test_another_split_of_hmdb51(tmp_path: Path) -> None:
    hmdb51(tmp_path)
    found = get(tmp_path, "hmdb51", train="splits/*_test_split2.txt")
    assert told(found) == {"train": {"b2": "wave"}, "validation": {"b1": "wave"}}


class TestRefusals:
    def test_an_unknown_format_names_the_closest(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="did you mean kinetics"):
            get(tmp_path, "kinetic")

    def test_missing_clips_are_told_or_refused(self, tmp_path: Path) -> None:
        data = lists(tmp_path)
        (tmp_path / "wave/b1.mp4").unlink()
        found = get(tmp_path, "list", **data)
        assert [clip.name for clip in found.splits["train"]] == ["clap/a1.mp4"]
        assert len(found.problems) == 1
        assert "wave/b1.mp4" in found.problems[0]
        assert "t.txt, line 2" in found.problems[0]
        with pytest.raises(SourceError, match=r"wave/b1\.mp4"):
            get(tmp_path, "list", broken="refuse", **data)

    def test_a_label_that_is_not_listed_names_the_closest(self, tmp_path: Path) -> None:
        jester(tmp_path)
        put(tmp_path, "jester-v1-train.csv", content="a1;clap\nb1;wavee\n")
        with pytest.raises(SourceError, match=r"line 2(.|\n)*did you mean wave"):
            get(tmp_path, "jester")

    @pytest.mark.parametrize("form", [form for form in FORMATS if form != "folders"])
    def test_lists_that_are_not_there(self, tmp_path: Path, form: str) -> None:
        with pytest.raises(EveryframeError):
            get(tmp_path, form)
        with pytest.raises(RecipeError, match=r"data\.train"):
            get(tmp_path, form, train="no.txt")

    def test_folders_without_clips(self, tmp_path: Path) -> None:
        put(tmp_path, "a/readme.txt")
        with pytest.raises(SourceError, match="no clips"):
            get(tmp_path, "folders")
        with pytest.raises(RecipeError, match=r"data\.root"):
            get(tmp_path / "none", "folders")

    def test_names_twice(self, tmp_path: Path) -> None:
        data = lists(tmp_path)
        put(tmp_path, "names.txt", content="clap\nclap\n")
        with pytest.raises(SourceError, match="twice"):
            get(tmp_path, "list", **data)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10_000)), min_size=1, unique=True), st.floats(0.01, 0.99))
def test_held_out_clips_stay_where_they_are(rows: list[tuple[int, int]], share: float) -> None:
    clips = [Clip(Path(f"{label}/{name}"), label, f"{label}/{name}") for label, name in rows]
    train, validation = held_out(clips, share)
    assert sorted(clip.name for clip in (*train, *validation)) == sorted(clip.name for clip in clips)
    for label in {clip.label for clip in clips}:
        members = [clip for clip in clips if clip.label == label]
        kept = [clip for clip in validation if clip.label == label]
        assert len(kept) == min(len(members) - 1, max(1, round(share * len(members))))
    assert held_out(clips[::-1], share) == (train[::-1], validation[::-1])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("pqrst"), st.integers(0, 99)), min_size=1, unique=True),
    st.floats(0.01, 0.99),
)
def test_of_groups_whole_ones_are_held_out(rows: list[tuple[int, str, int]], share: float) -> None:
    clips = [Clip(Path("x"), label, f"{label}/{group}/{name}", group=group) for label, group, name in rows]
    train, validation = held_out(clips, share)
    assert sorted(clip.name for clip in (*train, *validation)) == sorted(clip.name for clip in clips)
    assert {clip.label for clip in train} == {clip.label for clip in clips}
    if len({group for _, group, _ in rows}) == 5 and len(rows) > 60 and grouped(clips):
        assert not {clip.group for clip in train} & {clip.group for clip in validation}
    assert held_out(clips[::-1], share) == (train[::-1], validation[::-1])
