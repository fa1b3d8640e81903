"""Lists of labeled clips, however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from everyframe.errors import SourceError
from unit.test_data_formats import get, pictures, put


class TestLists:
    @pytest.mark.parametrize(
        ("text", "labels"),
        [
            ("a b 1.mp4 0\nc.mp4 1\n", ("0", "1")),
            ("a b 1.mp4 1\nc.mp4 2\n", ("1", "2")),
            ("path,label\na b 1.mp4,0\nc.mp4,1\n", ("0", "1")),
            ('video;label\n"a b 1.mp4"; 0\nc.mp4;1\n', ("0", "1")),
            ("a b 1.mp4\t0\nc.mp4\t1\n", ("0", "1")),
            ("a b 1.mp4 wave\nc.mp4 clap\n", ("clap", "wave")),
        ],
    )
    def test_blanks_tables_headers_names(self, tmp_path: Path, text: str, labels: tuple[str, ...]) -> None:
        put(tmp_path, "a b 1.mp4", "c.mp4")
        put(tmp_path, "l.txt", content=text)
        found = get(tmp_path, "list", train="l.txt", validation="l.txt")
        assert found.labels == labels
        named = [(clip.name, labels[clip.label]) for clip in found.splits["train"]]
        assert [name for name, _ in named] == ["a b 1.mp4", "c.mp4"]
        assert sorted(label for _, label in named) == sorted(labels)

    @pytest.mark.parametrize(
        "text",
        [
            "video_name,tag\na b 1.mp4,clap\nc.mp4,wave\n",
            "label,path\nclap,a b 1.mp4\nwave,c.mp4\n",
            ",path,label\n0,a b 1.mp4,clap\n1,c.mp4,wave\n",
            "index,label_id,class,filename,split\n0,0,clap,a b 1.mp4,train\n1,1,wave,c.mp4,train\n",
            "path label\na b 1.mp4 clap\nc.mp4 wave\n",
            "Unnamed: 0;category;Video_Path\n7;clap;a b 1.mp4\n8;wave;c.mp4\n",
        ],
    )
    def test_columns_are_found_by_their_names(self, tmp_path: Path, text: str) -> None:
        put(tmp_path, "a b 1.mp4", "c.mp4")
        put(tmp_path, "l.csv", content=text)
        found = get(tmp_path, "list", train="l.csv", validation="l.csv")
        assert found.labels == ("clap", "wave")
        assert [(clip.name, clip.label) for clip in found.splits["train"]] == [("a b 1.mp4", 0), ("c.mp4", 1)]

    @pytest.mark.parametrize("header", ["", "path offset count label\n"])
    def test_a_part_of_a_folder(self, tmp_path: Path, header: str) -> None:
        pictures(tmp_path, "f", 20)
        put(tmp_path, "l.txt", content=header + "f 0 8 0\nf 8 12 1\n")
        found = get(tmp_path, "list", train="l.txt", validation="l.txt")
        assert [(clip.first, clip.count, clip.label) for clip in found.splits["train"]] == [(1, 8, 0), (9, 12, 1)]
        put(tmp_path, "l.txt", content=header + "f 10 12 0\nf 8 12 1\n")
        assert any("20 pictures" in problem for problem in get(tmp_path, "list", train="l.txt", validation="l.txt").problems)

    def test_a_video_whose_name_ends_in_a_number_is_no_count(self, tmp_path: Path) -> None:
        put(tmp_path, "my clip 7")
        pictures(tmp_path, "other clip", 7)
        put(tmp_path, "l.txt", content="my clip 7 0\nother clip 7 1\n")
        first, second = get(tmp_path, "list", train="l.txt", validation="l.txt").splits["train"]
        assert (first.name, first.count, second.name, second.count) == ("my clip 7", None, "other clip", 7)

    @pytest.mark.parametrize(("numbers", "first"), [((0, 2), "a"), ((1, 3), "a"), ((0, 1), "a"), ((1, 2), "b")])
    def test_numbers_from_0_or_1_beside_names_without_numbers(self, tmp_path: Path, numbers: tuple[int, int], first: str) -> None:
        """Only what reaches beyond the names shows that they begin with 1."""
        put(tmp_path, "x.mp4", "y.mp4")
        put(tmp_path, "names.txt", content="a\nb\nc\n")
        put(tmp_path, "l.txt", content=f"x.mp4 {numbers[0]}\ny.mp4 {numbers[1]}\n")
        found = get(tmp_path, "list", train="l.txt", validation="l.txt", labels="names.txt")
        assert found.labels[found.splits["train"][0].label] == first
        assert bool(found.problems) == (numbers[1] == 3)

    @pytest.mark.parametrize("numbers", [(0, 3), (4, 5), (0, 99)])
    def test_numbers_that_fit_nowhere(self, tmp_path: Path, numbers: tuple[int, int]) -> None:
        put(tmp_path, "x.mp4", "y.mp4")
        put(tmp_path, "names.txt", content="a\nb\nc\n")
        put(tmp_path, "l.txt", content=f"x.mp4 {numbers[0]}\ny.mp4 {numbers[1]}\n")
        with pytest.raises(SourceError, match=rf"l.txt, line \d(.|\n)*0 to 2(.|\n)*{max(numbers)}"):
            get(tmp_path, "list", train="l.txt", labels="names.txt")

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("x.mp4\n", "line 1"),
            ("x.mp4 0\ny.mp4 clap\n", "line 2"),
            ("x.mp4 0\n\ny.mp4\n", "line 3"),
            (b"x\xff.mp4 0\n", "l.txt"),
        ],
    )
    def test_lines_that_are_not_understood_are_named(self, tmp_path: Path, text: str | bytes, place: str) -> None:
        put(tmp_path, "x.mp4", "y.mp4")
        put(tmp_path, "l.txt", content=text)
        with pytest.raises(SourceError, match=place):
            get(tmp_path, "list", train="l.txt")
