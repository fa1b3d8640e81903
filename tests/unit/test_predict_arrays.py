"""Arrays instead of videos: whatever form they come in, the network sees the same numbers, or is told why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import everyframe
import handmade
from everyframe.cli.main import run
from everyframe.conversion.facts import Options
from everyframe.conversion.step import convert
from everyframe.errors import EveryframeError, SourceError, UsageError
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.schema import Metadata, Preprocess
from handmade import model, tensor

T, C, CLASSES = 6, 3, 4
#: axes of a frame -> their sizes behind the channels
LAYOUTS = {"C": (), "CV": (5,), "CVM": (5, 2)}


def network(axes: str) -> onnx.ModelProto:
    """A convolution over three frames, (1, C, T, ...) -> (1, classes)."""
    rng, rest = np.random.default_rng(1), LAYOUTS[axes]
    weight = rng.standard_normal((8, C, 3, *(1 for _ in rest)))
    nodes = [
        helper.make_node("Conv", ["clip", "w"], ["x"], pads=[2, *(0 for _ in rest), 0, *(0 for _ in rest)]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["mean"], axes=list(range(2, 3 + len(rest))), keepdims=0),
        helper.make_node("MatMul", ["mean", "line"], ["raw"]),
    ]
    f32 = TensorProto.FLOAT
    weights = [tensor("w", weight), tensor("line", rng.standard_normal((8, CLASSES)))]
    return model(nodes, {"clip": (f32, (1, C, T, *rest))}, {"raw": (f32, (1, CLASSES))}, weights)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """axes -> (clip model, step model)"""
    there, made = tmp_path_factory.mktemp("models"), {}
    for axes in LAYOUTS:
        clip = network(axes)
        step = save(convert(clip, Options(layout=f"N{axes[0]}T{axes[1:]}")).step, there / f"{axes}.step.onnx")
        meta = Metadata(kind="clip", frames=T, axes=axes)
        made[axes] = save(attach(clip, meta), there / f"{axes}.clip.onnx"), step
    return made


def frames(axes: str, count: int = 9) -> np.ndarray:
    """(count, C, ...)"""
    return np.random.default_rng(5).standard_normal((count, C, *LAYOUTS[axes])).astype(np.float32)


def logits(step: Path, source: object, **options: object) -> np.ndarray:
    return np.array([one.logits for one in everyframe.predict(step, source, engine="ort", threads=1, **options)])


@pytest.mark.parametrize("axes", LAYOUTS)
class TestForms:
    def test_all_forms_are_the_same_frames(self, files: dict[str, tuple[Path, Path]], tmp_path: Path, axes: str) -> None:
        values = frames(axes)
        own = np.moveaxis(values, 0, 1)  # (C, T, ...)
        np.save(tmp_path / "own.npy", own)
        np.save(tmp_path / "batch.npy", own[None])
        np.save(tmp_path / "first.npy", values.astype(np.float64))
        np.savez(tmp_path / "one.npz", skeleton=own, pts=np.arange(9) / 4)
        table = ["pts;" + ";".join(f"v{i}" for i in range(values[0].size))]
        table += [f"{i / 4};" + ";".join(f"{v:.9g}" for v in row.ravel()) for i, row in enumerate(values)]
        (tmp_path / "named.csv").write_text("\n".join(table))
        (tmp_path / "bare.csv").write_text("\n".join(",".join(f"{v:.9g}" for v in row.ravel()) for row in values))
        for path in files[axes]:
            wanted = logits(path, iter(values), fps=4)
            for form in ("own.npy", "batch.npy", "first.npy", "one.npz", "named.csv", "bare.csv"):
                np.testing.assert_array_equal(logits(path, tmp_path / form), wanted, err_msg=form)
            np.testing.assert_array_equal(logits(path, own, fps=4), wanted)
            np.testing.assert_array_equal(logits(path, list(values), fps=4), wanted)
        times = {form: [one.pts_s for one in everyframe.predict(path, tmp_path / form)] for form in ("one.npz", "named.csv")}
        assert times["one.npz"] == times["named.csv"] and times["one.npz"][-1] == 2.0
        assert everyframe.predict(path, tmp_path / "own.npy", fps=2)[-1].pts_s == 4.0

    def test_the_clip_network_says_what_the_graph_says(
        self, files: dict[str, tuple[Path, Path]], tmp_path: Path, axes: str
    ) -> None:
        from everyframe.modelfile.session import run as run_once

        values, (clip, _) = frames(axes), files[axes]
        got = logits(clip, iter(values), fps=4, stride=1)
        own = np.moveaxis(values, 0, 1)[None]
        for place, answer in enumerate(got):
            wanted = run_once(network(axes), {"clip": own[:, :, place : place + T]}, ["raw"])["raw"]
            np.testing.assert_allclose(answer[None], wanted, rtol=1e-5, atol=1e-5)

    def test_a_shape_that_does_not_fit_is_said(self, files: dict[str, tuple[Path, Path]], tmp_path: Path, axes: str) -> None:
        np.save(tmp_path / "a.npy", np.zeros((7, 11, *LAYOUTS[axes]), np.float32))
        with pytest.raises(SourceError, match=rf"(?s)not what the network takes.*\({C}, T.*frames first.*\(7, 11"):
            logits(files[axes][1], tmp_path / "a.npy")
        with pytest.raises(EveryframeError, match="shape this stream takes"):
            logits(files[axes][1], [np.zeros((7, *LAYOUTS[axes]), np.float32)], fps=1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "1,2,3\n4,,6\n", r"(?s)no number.*line 2, column 2.*nothing"),
        ("a.csv", "x,y,z\n1,2,3\n4,5,nan\n", "(?s)no number.*line 3, column z.*nan"),
        ("a.csv", "1,2,3\n4,5\n", "(?s)another number of values.*line 2"),
        ("a.csv", "1,2\n3,4\n", "(?s)columns.*3 values.*2 columns"),
        ("a.csv", "x,y,z\n", "no frames"),
        ("a.csv", "pts,x,y,z\n1,1,2,3\n0,1,2,3\n", "times are not"),
        ("a.csv", b"\xff\xfe\xff", "cannot be read"),
        ("a.npy", b"no array", "cannot be read"),
        ("a.npz", b"no arrays", "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_file(
    files: dict[str, tuple[Path, Path]], tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError, match=said):
        logits(files["C"][1], tmp_path / name)


def test_values_that_are_not_finite_and_open_questions(files: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    values = frames("CV")
    values[4, 1, 2] = np.nan
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(SourceError, match=r"(?s)not finite.*frame 4, place \(1, 2\)"):
        logits(files["CV"][1], tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", x=values, y=values)
    with pytest.raises(SourceError, match=r"(?s)which array.*x, y"):
        logits(files["CV"][1], tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(SourceError, match="cannot be read"):
        logits(files["CV"][1], tmp_path / "c.npy")
    np.save(tmp_path / "d.npy", np.zeros((C, 0, 5)))
    with pytest.raises(SourceError, match="no frames"):
        logits(files["CV"][1], tmp_path / "d.npy")


class TestPictures:
    @pytest.fixture
    def step(self, tmp_path: Path) -> Path:
        return handmade.brightness_step(tmp_path / "step.onnx")

    def test_bytes_are_prepared_and_floats_are_not(self, tmp_path: Path) -> None:
        how = Preprocess(resize=(12, 16), **handmade.GRAY)
        step = handmade.brightness_step(tmp_path / "step.onnx", preprocess=how)
        pictures = np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3), np.uint8)
        np.save(tmp_path / "bytes.npy", pictures)
        wanted = logits(step, iter(pictures), fps=10)
        np.testing.assert_array_equal(logits(step, tmp_path / "bytes.npy"), wanted)
        floats = np.random.default_rng(1).random((8, 1, 12, 16), np.float32)
        np.save(tmp_path / "floats.npy", np.moveaxis(floats, 0, 1))
        with everyframe.open(step, engine="ort") as program, program.stream() as stream:
            stepped = [one.logits for frame in floats if (one := stream.step(frame[None])) is not None]
        np.testing.assert_array_equal(logits(step, tmp_path / "floats.npy"), stepped)

    def test_their_rate_is_asked_for_and_followed(self, step: Path, tmp_path: Path) -> None:
        pictures = np.repeat(np.arange(60, dtype=np.uint8)[:, None, None, None], 3, axis=3) * np.ones((1, 12, 16, 1), np.uint8)
        np.save(tmp_path / "a.npy", pictures)
        with pytest.raises(UsageError, match=r"(?s)how fast.*--fps"):
            logits(step, tmp_path / "a.npy")
        np.testing.assert_array_equal(logits(step, tmp_path / "a.npy", fps=30), logits(step, iter(pictures[::3]), fps=10))
        for wrong in ({"pts": [0.0]}, {"bgr": True}, {"realtime": True}):
            with pytest.raises(UsageError):
                logits(step, tmp_path / "a.npy", fps=30, **wrong)

    def test_what_was_prepared_for_the_network_has_its_rate(self, step: Path, tmp_path: Path) -> None:
        """As a board's own sample has it: (1, C, T, H, W) float32, resized, normalized and sampled, and no time anywhere."""
        floats = np.random.default_rng(1).random((1, 1, 8, 12, 16), np.float32)
        np.save(tmp_path / "video0.npy", floats)
        prepared = logits(step, tmp_path / "video0.npy")
        np.testing.assert_array_equal(prepared, logits(step, tmp_path / "video0.npy", fps=10))
        every_third = Preprocess(resize=(12, 16), sample_every_n=3, **handmade.GRAY)
        other = handmade.brightness_step(tmp_path / "third.onnx", preprocess=every_third)
        np.testing.assert_array_equal(logits(other, tmp_path / "video0.npy"), prepared)

    def test_too_few_for_a_label_to_lead_are_shown(self, step: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
        np.save(tmp_path / "short.npy", np.zeros((1, 1, 4, 12, 16), np.float32))
        with pytest.raises(SystemExit):
            run(["predict", str(step), str(tmp_path / "short.npy"), "-k", "2"])
        shown = [line.split()[2:4] for line in capfd.readouterr().out.splitlines() if "  top  " in line]
        assert [name for _, name in shown] == ["dark", "medium"]

    def test_a_table_is_no_picture(self, step: Path, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("1,2\n")
        with pytest.raises(SourceError, match="pictures are no table"):
            logits(step, tmp_path / "a.csv", fps=1)


class TestCommand:
    def said(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            run(list(map(str, arguments)))
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    def test_a_folder_of_arrays(
        self, files: dict[str, tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("a1.npy", "a2.npy"):
            np.save(tmp_path / name, frames("CV"))
        handmade.write_video(tmp_path / "beside.mp4", 4)
        code, out, _ = self.said(capsys, "predict", files["CV"][1], tmp_path, "--json", "--fps", "5")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and {Path(row["source"]).name for row in rows} == {"a1.npy", "a2.npy"}
        assert rows[-1]["pts_s"] == 8 / 5
        code, out, err = self.said(capsys, "predict", files["CV"][1], tmp_path / "a1.npy", "--save-timeline", tmp_path / "t.png")
        assert (code, err) == (0, "") and (tmp_path / "t.png").is_file() and "predictions  9" in out

    def test_the_rate_of_arrays_that_are_evaluated(
        self, files: dict[str, tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Frames at twice the network's rate are what every second of them is at its own."""
        step = load(files["CV"][1])
        metadata = metadata_of(step)
        assert metadata is not None
        wanted = {"preprocess": Preprocess(fps=10), "labels": ("a", "b", "c", "d")}
        save(attach(step, metadata.model_copy(update=wanted)), tmp_path / "step.onnx")
        for folder, every in (("all", 1), ("half", 2)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "labels.csv").write_text("file,label\n" + "".join(f"{label}.npy,{label}\n" for label in "abcd"))
            for number, label in enumerate("abcd"):
                np.save(tmp_path / folder / f"{label}.npy", np.roll(frames("CV", 24), number, axis=2)[::every])

        def measured(folder: str, *more: object) -> tuple[int, str, str]:
            data = tmp_path / folder
            chosen = "--format", "list", "--list", data / "labels.csv", "--split", "all", "--workers", 1, "--json"
            return self.said(capsys, "evaluate", tmp_path / "step.onnx", "--data", data, *chosen, *more)

        code, _, err = measured("all")
        assert code == 2 and "--fps 10" in err
        twice, own = (json.loads(measured(folder, "--fps", fps)[1]) for folder, fps in (("all", 20), ("half", 10)))
        assert twice["videos"] == 4 and twice["conditions"] == own["conditions"]

    def test_what_is_for_videos_says_so(
        self, files: dict[str, tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        np.save(tmp_path / "a.npy", frames("CV"))
        video = handmade.write_video(tmp_path / "v.mp4", 4)
        for gesture in ("none", "wave"):
            (tmp_path / "taught" / gesture).mkdir(parents=True)
            for count in (8, 9):
                np.save(tmp_path / "taught" / gesture / f"{count}.npy", frames("CV", count))
        step = files["CV"][1]
        picture_step = handmade.brightness_step(tmp_path / "step.onnx")
        for arguments, word in (
            (("predict", step, video), "takes arrays, not pictures"),
            (("predict", step, tmp_path / "a.npy", "--profile"), "takes arrays, not pictures"),
            (("predict", picture_step, tmp_path / "a.npy", "--profile"), "no pictures in this array"),
            (("predict", picture_step, video, "--fps", 3), "says its times"),
            (("quantize", step, "--calibrate", tmp_path / "a.npy", "-o", tmp_path / "q.onnx"), "arrays"),
            (("teach", step, "--examples", tmp_path / "taught", "-o", tmp_path / "q.onnx"), "arrays"),
        ):
            code, out, err = self.said(capsys, *arguments)
            assert (code, out) == (2, ""), arguments
            assert word in err, arguments


@pytest.mark.parametrize("fps", [0, -3, float("nan"), float("inf"), 1e-300, 1e300, "many"])
def test_a_rate_that_is_none(files: dict[str, tuple[Path, Path]], tmp_path: Path, fps: object) -> None:
    np.save(tmp_path / "a.npy", frames("C"))
    for source in (tmp_path / "a.npy", iter(frames("C"))):
        with pytest.raises(UsageError, match="not a frame rate"):
            logits(files["C"][1], source, fps=fps)


def test_spans_are_seconds_by_the_times_of_the_file(files: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=frames("C", 8), pts=np.arange(8) / 4)
    np.save(tmp_path / "b.npy", frames("C", 8))
    (tmp_path / "labels.csv").write_text("path,start,end,label\na,0.5,1,2\nb,0,0.1,2\n")
    found = everyframe.evaluate(files["C"][1], tmp_path, task="frames")
    assert [row.count for row in found.classes] == [2 + 3], "at 4 a second of its own, and at the 30 that are assumed"
    assert len(everyframe.predict(files["C"][1], tmp_path)) == 16, "the list is no array"


def test_labels_of_frames_from_features(files: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    """Evaluation takes arrays as clips: what prediction says of them is what counts."""
    step, counted = files["C"][1], 0
    (tmp_path / "groundTruth").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(ord(name)).standard_normal((C, 11)))
        said = [one.top[0].index for one in everyframe.predict(step, tmp_path / f"{name}.npy")]
        labels = np.random.default_rng(3).integers(0, CLASSES, 11)
        counted += int((np.array(said) == labels).sum())
        (tmp_path / f"groundTruth/{name}.txt").write_text("\n".join(map(str, labels)))
    found = everyframe.evaluate(step, tmp_path, task="frames")
    assert found.conditions["normal"]["stream"]["accuracy"].value == pytest.approx(counted / 22)
    (tmp_path / "list.json").write_text(json.dumps({"a": [1, 2], "b": []}))
    both = everyframe.evaluate(files["C"][0], tmp_path, task="multilabel", clip_list="list.json")
    assert set(both.conditions["normal"]) == {"clip", "stream end", "stream average"}
