"""Folders of clips as people keep them: names of splits, what systems leave behind, suffixes; lists of any columns."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from everyframe.data.clips import Clip, Collection
from everyframe.data.decode import pictures
from everyframe.data.formats import read
from everyframe.data.header import probe
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import Data


def put(root: Path, *files: str, content: str | bytes = "") -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def get(root: Path, form: str = "folders", **data: str) -> Collection:
    return read(Data.model_validate({"format": form, "root": str(root), **data}), Path("/nowhere"))


def sizes(found: Collection) -> dict[str, int]:
    return {split: len(clips) for split, clips in found.splits.items()}


class TestFolders:
    @pytest.mark.parametrize("train", ["train", "Training", "TRAIN", "train_set"])
    @pytest.mark.parametrize("held", ["validate", "Val", "valid", "validation", "eval", "Evaluation", "dev", "val_set"])
    def test_splits_as_people_call_them(self, tmp_path: Path, train: str, held: str) -> None:
        put(tmp_path, *(f"{train}/{c}/{i}.mp4" for c in "ab" for i in range(5)), f"{held}/a/x.mp4", "Testing/b/y.mp4")
        found = get(tmp_path)
        assert sizes(found) == {"train": 10, "validation": 1, "test": 1}
        assert found.labels == ("a", "b")
        assert not found.problems

    def test_two_folders_of_one_split_are_a_question(self, tmp_path: Path) -> None:
        put(tmp_path, "train/a/1.mp4", "val/a/1.mp4", "validate/a/2.mp4")
        with pytest.raises(SourceError, match="val, validate"):
            get(tmp_path)

    def test_a_folder_beside_the_splits_is_named(self, tmp_path: Path) -> None:
        put(tmp_path, "train/a/1.mp4", "val/a/1.mp4", "more/a/2.mp4")
        assert any("more" in problem for problem in get(tmp_path).problems)

    @pytest.mark.parametrize("top", ["", "train/"])
    def test_what_systems_leave_behind_is_no_class_and_no_clip(self, tmp_path: Path, top: str) -> None:
        put(tmp_path, *(f"{top}{c}/{i}.mp4" for c in "ab" for i in range(2)))
        before = get(tmp_path)
        junk = ("__MACOSX/a/._1.mp4", ".git/x/1.mp4", "$RECYCLE.BIN/x/1.mp4", "@eaDir/x/1.mp4")
        put(tmp_path, *(top + name for name in junk), *junk)
        put(tmp_path, *(f"{top}a/{name}" for name in ("._1.mp4", "Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX/1.mp4")))
        assert get(tmp_path) == before

    @pytest.mark.parametrize("names", [("Other", "other"), ("thumbs_up", "Thumbs up"), ("Caf\u00e9", "Cafe\u0301")])
    @pytest.mark.parametrize("tops", [("", ""), ("train/", "val/")])
    def test_spellings_of_one_class(self, tmp_path: Path, names: tuple[str, str], tops: tuple[str, str]) -> None:
        put(tmp_path, *(f"{top}{name}/{name[:3]}.mp4" for top, name in zip(tops, names, strict=True)), f"{tops[0]}b/1.mp4")
        found = get(tmp_path)
        assert len(found.labels) == 2
        assert any("one class" in problem for problem in found.problems)

    def test_every_suffix_of_a_video_is_read_and_the_rest_is_named(self, tmp_path: Path) -> None:
        suffixes = ("asf", "divx", "h265", "264", "vob", "f4v", "mxf", "m2v", "mjpeg", "ts", "mts", "3gp", "ogv", "wmv", "flv")
        suffixes += ("MP4", "webm", "m2ts", "mpg", "qt", "rmvb", "dv", "3g2", "265", "ivf")
        put(tmp_path, *(f"a/{i}.{suffix}" for i, suffix in enumerate(suffixes)), "a/notes.txt", "a/x.zzz", "a/y.zzz", "a/noend")
        found = get(tmp_path)
        assert sum(sizes(found).values()) == len(suffixes)
        (said,) = found.problems
        for part in ("4 files", ".zzz (2)", ".txt (1)", "without suffix (1)"):
            assert part in said

    def test_links_are_followed_but_never_back(self, tmp_path: Path) -> None:
        put(tmp_path / "clips", *(f"{c}/{i}.mp4" for c in "ab" for i in range(3)))
        put(tmp_path / "elsewhere", "1.mp4", "2.mp4")
        before = sizes(get(tmp_path / "clips"))
        for name, leads in (("a/up", "clips"), ("b/self", "clips/b"), ("nowhere", "gone")):
            (tmp_path / "clips" / name).symlink_to(tmp_path / leads)
        assert sizes(get(tmp_path / "clips")) == before
        (tmp_path / "clips" / "c").symlink_to(tmp_path / "elsewhere")
        found = get(tmp_path / "clips")
        assert found.labels == ("a", "b", "c") and sum(sizes(found).values()) == 8
        assert sum("a link back" in problem for problem in found.problems) == 2
        (tmp_path / "clips/a/x").symlink_to(tmp_path / "clips/b")
        (tmp_path / "clips/b/y").symlink_to(tmp_path / "clips/a")
        assert sum(sizes(get(tmp_path / "clips")).values()) == 14  # each once more in the other, and no further

    def test_a_pipe_is_no_clip(self, tmp_path: Path) -> None:
        put(tmp_path, "a/1.mp4", "b/1.mp4")
        os.mkfifo(tmp_path / "a" / "2.mp4")
        found = get(tmp_path)
        assert sum(sizes(found).values()) == 2 and any(".mp4 (1)" in problem for problem in found.problems)

    def test_a_label_is_a_line_of_text(self, tmp_path: Path) -> None:
        put(tmp_path, "-x #%/1.mp4", "two\nlines/1.mp4", "end /1.mp4", "end/2.mp4", os.fsdecode(b"no text\xff/\xff.mp4"))
        assert get(tmp_path).labels == ("-x #%", "end", "no text?", "two lines")

    def test_clips_in_no_folder_of_a_class_are_counted(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="2 clips that lie in no folder of a class"):
            get(put(tmp_path, "1.mp4", "2.mp4"))


class TestGroups:
    PERSONS = ("anna", "bo", "cem", "dora", "eli")

    @pytest.mark.parametrize("top", ["", "train/"])
    @pytest.mark.parametrize("clip", ["{}.mp4", "monday/{}.mp4", "{}/00001.jpg"])
    def test_folders_of_persons_below_a_class(self, tmp_path: Path, top: str, clip: str) -> None:
        put(tmp_path, *(f"{top}{c}/{p}/{clip.format(i)}" for c in "ab" for p in self.PERSONS for i in range(3)))
        found = get(tmp_path)
        assert found.labels == ("a", "b")
        groups = {split: {each.group for each in clips} for split, clips in found.splits.items()}
        assert groups["train"] | groups["validation"] == set(self.PERSONS)
        assert not groups["train"] & groups["validation"] and sizes(found) == {"train": 24, "validation": 6}
        assert any("whole groups are held out" in problem for problem in found.problems)

    def test_clips_of_a_class_beside_folders(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"{c}/{name}" for c in "ab" for name in ("1.mp4", "2.mp4", "anna/3.mp4", "anna/.x/4.mp4", "bo/5.mp4")))
        found = get(tmp_path)
        assert sum(sizes(found).values()) == 8  # some have no group: a share of each class is held out
        assert all(any(clip.label == label for clip in found.splits["validation"]) for label in (0, 1))

    def test_kinds_of_a_class_are_no_persons(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"{c}/{c}_{kind}/{i}.mp4" for c in "ab" for kind in "xyz" for i in range(5)))
        found = get(tmp_path)
        assert sizes(found) == {"train": 24, "validation": 6}
        assert len({clip.group for clip in found.splits["train"]}) == 6

    def test_a_root_one_level_too_high_is_a_question(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"clips/{c}/{i}.mp4" for c in "ab" for i in range(3)))
        with pytest.raises(SourceError, match=r"one class(.|\n)*data.root = .*clips"):
            get(tmp_path)


class TestLists:
    """A list says the same whatever its columns are called, in whatever order, with whatever between them."""

    ROWS = (("clap/a 1.mp4", "clap"), ("clap/b.mp4", "clap"), ("wave/c.mp4", "wave"), ("wave/d.mp4", "wave"))

    def root(self, tmp_path: Path) -> Path:
        return put(tmp_path / "clips", *(name for name, _ in self.ROWS))

    def told(self, root: Path, text: str | bytes) -> list[tuple[str, str]]:
        put(root, "l.txt", content=text)
        found = get(root, "list", train="l.txt", validation="l.txt")
        return [(clip.path.relative_to(root).as_posix(), found.labels[clip.label]) for clip in found.splits["train"]]

    @pytest.mark.parametrize("mark", [",", ";", "\t", " , "])
    @pytest.mark.parametrize(
        "columns",
        [
            ("video_name", "tag"), ("label", "path"), ("Class", "File Name"), ("", "video", "label"),
            ("Unnamed: 0", "tag", "clip"),
            ("filename", "emotion"), ("person", "path", "class_id", "label"), ("path", "label", "notes"), (),
        ],
    )  # fmt: skip
    def test_tables(self, tmp_path: Path, columns: tuple[str, ...], mark: str) -> None:
        root = self.root(tmp_path)
        values = {"person": "anna", "notes": "none", "class_id": "7"}
        labels = {"tag", "label", "Class", "emotion"}
        rows = []
        for number, (name, label) in enumerate(self.ROWS):
            cells = [
                label if column in labels else values.get(column, str(number) if column in ("", "Unnamed: 0") else f'"{name}"')
                for column in columns
            ] or [name, label]
            rows.append(mark.join(cells))
        assert self.told(root, "\n".join([*([mark.join(columns)] if columns else []), *rows])) == list(self.ROWS)

    @pytest.mark.parametrize("columns", ["{0},{1}", "{1},{0}", "{2},{0},{1}", "{2};{1};{0}", "{0} {1}", '"{0}" {1}', "{0}|{1}"])
    @pytest.mark.parametrize("path", ["{}", "./{}", "clips/{}", "{root}/{}", "/elsewhere/data/clips/{}", "windows", "drive"])
    def test_without_a_header_and_with_any_path(self, tmp_path: Path, columns: str, path: str) -> None:
        root = self.root(tmp_path)

        def written(name: str) -> str:
            back = name.replace("/", "\\")
            return {"windows": back, "drive": f"D:\\data\\{back}"}.get(path, path.format(name, root=root))

        text = "\n".join(columns.format(written(name), label, number) for number, (name, label) in enumerate(self.ROWS))
        assert self.told(root, text) == list(self.ROWS)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_spreadsheets(self, tmp_path: Path, encoding: str) -> None:
        text = "\r\n".join(["video_name\ttag", *("\t".join(row) for row in self.ROWS)])
        assert self.told(self.root(tmp_path), text.encode(encoding)) == list(self.ROWS)

    def test_offset_and_count_of_pictures(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"{name}/img_{i:05d}.jpg" for name in ("a", "b") for i in range(1, 11)))
        put(tmp_path, "l.txt", content="a 0 4 0\na 4 6 1\nb 2 3 1\n")
        found = get(tmp_path, "list", train="l.txt", validation="l.txt").splits["train"]
        assert [(clip.first, clip.count, clip.label) for clip in found] == [(1, 4, 0), (5, 6, 1), (3, 3, 1)]
        put(tmp_path, "l.txt", content="path,start_frame,num_frames,label\na,0,4,x\nb,8,9,y\n")
        problems = get(tmp_path, "list", train="l.txt", validation="l.txt").problems
        assert "17 pictures" not in problems[0]
        assert "10 pictures" in problems[0]

    def test_counts_beside_paths_with_blanks_and_an_index(self, tmp_path: Path) -> None:
        put(tmp_path, "my clip 7", "x.mp4", *(f"other clip/{i}.jpg" for i in range(1, 10)))
        put(tmp_path, "l.txt", content="# path label\nmy clip 7 0\nother clip 7 1\nother clip 1 7 1\n3 x.mp4 0\n")
        found = get(tmp_path, "list", train="l.txt", validation="l.txt").splits["train"]
        assert [(clip.name, clip.label, clip.count, clip.first) for clip in found] == [
            ("my clip 7", 0, None, 1), ("other clip", 1, 7, 1), ("other clip", 1, 7, 2), ("x.mp4", 0, None, 1),
        ]  # fmt: skip

    @pytest.mark.parametrize("text", ["clap/b.mp4,a, b\nwave/c.mp4,c\n", "path,label,start,end\nclap/b.mp4,a,0.5,1\n"])
    def test_what_would_be_lost_is_refused(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(SourceError, match=r"l\.txt"):
            self.told(self.root(tmp_path), text)

    def test_a_column_of_splits(self, tmp_path: Path) -> None:
        root = self.root(tmp_path)
        splits = ("train", "Val", "training", "TEST")
        text = ["path,label,split", *(f"{','.join(row)},{split}" for row, split in zip(self.ROWS, splits, strict=True))]
        put(root, "l.csv", content="\n".join(text))
        assert sizes(get(root, "list", train="l.csv")) == {"train": 2, "validation": 1, "test": 1}

    @pytest.mark.parametrize(
        "header", ["fichier,etiquette", "path,mood,weather", "label,left,right", "a,b,c"],
    )  # fmt: skip
    def test_what_cannot_be_told_is_a_question(self, tmp_path: Path, header: str) -> None:
        root = self.root(tmp_path)
        fill = ["x"] * (header.count(",") - 1)
        text = "\n".join([header, *(",".join([name, label, *fill]) for name, label in self.ROWS)])
        with pytest.raises(SourceError, match=r"cannot be told(.|\n)*path,label"):
            self.told(root, text)


class TestArrays:
    def test_where_there_are_no_videos_arrays_are_the_clips(self, tmp_path: Path) -> None:
        for label, level in (("dark", 20), ("bright", 230)):
            (tmp_path / label / "p1").mkdir(parents=True)
            np.save(tmp_path / label / "p1" / "a.npy", np.full((6, 8, 10, 3), level, np.uint8))
            np.savez(tmp_path / label / "b.npz", x=np.full((6, 8, 10, 1), level, np.uint8), pts=np.arange(6) / 5)
            (tmp_path / label / "list.csv").write_text("a,b\n")
        found = get(tmp_path)
        assert sizes(found) == {"train": 2, "validation": 2} and ".csv (2)" in found.problems[0]
        for clip in (*found.splits["train"], *found.splits["validation"]):
            header = probe(clip)
            assert (header.frames, header.height, header.width, header.error) == (6, 8, 10, None)
            assert header.fps == (None if clip.path.suffix == ".npy" else 5)  # without times: one for each that a network takes
            seen = pictures(clip, Preprocess(resize=(4, 5), fps=10))
            assert seen.shape == (6 if header.fps is None else 12, 4, 5, 3) and (seen == (20 if clip.label else 230)).all()
            assert pictures(clip, Preprocess(resize=(4, 5)), lambda count: np.array([count - 1])).shape == (1, 4, 5, 3)
        put(tmp_path, "bright/c.mp4")
        assert sizes(get(tmp_path))["train"] == 1  # features of videos lie beside them

    def test_other_arrays_are_no_pictures(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.zeros((4, 60), np.float32))
        clip = Clip(tmp_path / "a.npy", 0, "a")
        assert "no pictures in this array. (float32 (4, 60))" in str(probe(clip).error)
        with pytest.raises(SourceError, match=r"uint8 \(T, H, W, 3\)"):
            pictures(clip, Preprocess())
