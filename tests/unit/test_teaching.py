"""Teaching: what the taught file says, what leaving out means, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import everyframe
from clips import clip_net
from everyframe import modelfile
from everyframe.cli import main
from everyframe.conversion import convert
from everyframe.errors import EveryframeError, ModelError, OutputError, SourceError, UsageError
from everyframe.modelfile.file import attach
from everyframe.modelfile.schema import FeatureSpec, Metadata, Preprocess
from everyframe.modelfile.walk import Walk
from everyframe.rendering.hands import dataset
from everyframe.runtime.program import BUILTIN
from everyframe.teaching import Taught, teach
from everyframe.teaching.cut import Backbone, cut, with_head
from everyframe.teaching.examples import Reader
from everyframe.teaching.head import Head
from everyframe.teaching.learn import rows_of
from everyframe.teaching.record import encode
from everyframe.teaching.window import shortened
from everyframe.video.frame import Frame
from handmade import write_video
from helpers import built_in_size

LABELS = ("circle_clockwise", "swipe_up", "wave")
FPS = 12.0


def rendered(label: str, seed: int, count: int) -> list[np.ndarray]:
    """(T, H, W) gray videos of single gestures that the built-in model was never trained on."""
    shown = dataset.streams(
        "test", seed, range(count), frames=60, fps=FPS, size=built_in_size(), label=label, negative=label == "none", single=True
    )  # fmt: skip
    return list(shown.video)


def write_clip(path: Path, video: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [Frame(np.repeat(picture[..., None], 3, 2), i / FPS, i) for i, picture in enumerate(video)]
    path.write_bytes(encode(frames))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five examples of three gestures, and background."""
    root = tmp_path_factory.mktemp("examples")
    for number, label in enumerate((*LABELS, "none")):
        for i, video in enumerate(rendered(label, 60 + number, 5)):
            write_clip(root / label / f"{i}.mp4", video)
    return root


@pytest.fixture(scope="module")
def taught(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return teach("builtin", folder, tmp_path_factory.mktemp("taught") / "mine.onnx")


def backbone(path: Path = BUILTIN) -> Backbone:
    model = modelfile.load(path)
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    return cut(model, metadata, path)


def head_of(path: Path) -> Head:
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in onnx.load(path).graph.initializer}
    return Head(weights["taught.weight"], weights["taught.bias"])


class TestTheTaughtModel:
    @pytest.mark.parametrize("engine", ["ort", "native"])
    def test_streamed_it_says_what_its_head_says_about_the_features(self, taught: Taught, folder: Path, engine: str) -> None:
        path = next((folder / "wave").iterdir())
        reader = Reader(backbone(), "builtin")
        pictures = [np.asarray(frame.data) for frame in everyframe_frames(path)]
        features, seen = reader.features(pictures)
        with everyframe.open(taught.path, engine=engine) as program:
            logits = np.stack([p.logits for p in program.predict(path)])
        assert len(logits) == len(features) == len(seen)
        np.testing.assert_allclose(logits, taught.learned.head.logits(features), rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(head_of(taught.path).weight, taught.learned.head.weight, rtol=1e-5)

    @pytest.mark.parametrize("engine", ["ort", "native"])
    def test_the_rejection_is_in_the_file(self, taught: Taught, folder: Path, tmp_path: Path, engine: str) -> None:
        """With a limit that half of a clip's moments pass: in every engine the background's logit is that of the head."""
        bare, path = backbone(), next((folder / "wave").iterdir())
        features = Reader(bare, "builtin").features([np.asarray(frame.data) for frame in everyframe_frames(path)])[0]
        familiar = taught.learned.head.familiar
        assert familiar is not None
        head = replace(taught.learned.head, familiar=replace(familiar, limit=float(np.median(familiar.distance(features)))))
        gained = head.familiar.beyond(features)  # type: ignore[union-attr]
        assert (gained == 0).any() and (gained > 1).any()
        metadata = modelfile.metadata_of(modelfile.load(taught.path))
        assert metadata is not None
        modelfile.save(with_head(bare, head, metadata), tmp_path / "strict.onnx")
        with everyframe.open(tmp_path / "strict.onnx", engine=engine) as program:
            logits = np.stack([p.logits for p in program.predict(path)])
        np.testing.assert_allclose(logits, head.logits(features), rtol=1e-3, atol=5e-4)

    def test_is_an_ordinary_step_model(self, taught: Taught) -> None:
        model, source = modelfile.load(taught.path), modelfile.metadata_of(modelfile.load(BUILTIN))
        onnx.checker.check_model(model, full_check=True)
        metadata = modelfile.metadata_of(model)
        assert metadata is not None and source is not None
        assert metadata.labels == ("none", *LABELS)
        assert metadata.events is not None and metadata.events.background == "none"
        same = ("kind", "hop", "preprocess", "feature_delay", "window")
        assert all(getattr(metadata, name) == getattr(source, name) for name in same)
        kept = len(set(metadata.states) & set(source.states))
        assert metadata.states[:kept] == tuple(state for state in source.states if state in metadata.states)
        assert sum(s.shape == (source.window - 1, 96) for s in metadata.states[:kept]) == 0, "the old classifier's are gone"
        longest = max(spec.window for spec in source.features)
        assert metadata.features == () and metadata.delay - metadata.feature_delay == longest - 1
        assert metadata.receptive_field - source.receptive_field == longest - source.window
        assert metadata.provenance.passes[-1] == "teach" and metadata.provenance.weights_sha256
        assert "head.weight" not in {t.name for t in model.graph.initializer}, "the old classifier is gone"

    def test_can_be_taught_again(self, taught: Taught, folder: Path, tmp_path: Path) -> None:
        again = teach(taught.path, folder, tmp_path / "again.onnx")
        np.testing.assert_allclose(again.learned.head.weight, taught.learned.head.weight, atol=1e-9)

    def test_order_and_duplicates_change_nothing(self, taught: Taught, folder: Path, tmp_path: Path) -> None:
        first, second = tmp_path / "b", tmp_path / "a"
        for label in (*LABELS, "none"):
            for i in range(5):
                target = (first if i % 2 else second) / label / f"{i}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / label / f"{i}.mp4", target)
        shutil.copy(folder / "wave" / "0.mp4", first / "wave" / "twice.mp4")
        made = [teach("builtin", roots, tmp_path / "mine.onnx") for roots in ([first, second], [second, first])]
        assert made[0].counts == taught.counts
        assert any("counts once" in note for note in made[0].notes)
        weights = [one.learned.head.weight for one in made]
        assert np.array_equal(*weights), "not even the last bit"
        np.testing.assert_allclose(weights[0], taught.learned.head.weight, atol=1e-3)

    def test_tells_rendered_gestures_apart(self, taught: Taught, folder: Path) -> None:
        """Twelve of each that it was not taught. Guessing gives a third; a network with shuffled weights no more."""
        from everyframe.runtime.prediction import softmax

        reader, right, total = Reader(backbone(), "builtin"), 0, 0
        for index, label in enumerate(LABELS, 1):
            for video in rendered(label, 80 + index, 12):
                scores = softmax(taught.learned.head.logits(reader.features(video[..., None])[0]))
                right += int(scores[:, 1:].max(0).argmax()) + 1 == index
                total += 1
        assert right / total >= 0.6


def everyframe_frames(path: Path) -> list[Frame]:
    from everyframe.video import Reader as Frames
    from everyframe.video import resolve

    metadata = backbone().metadata
    with Frames(resolve(path)[0], metadata.preprocess) as frames:
        return list(frames)


class TestCutting:
    def test_the_old_weights_on_the_features_give_the_old_logits(self, tmp_path: Path) -> None:
        """So the features are what the classifier saw, through the window too."""
        model = modelfile.load(BUILTIN)
        whole = modelfile.metadata_of(model)
        assert whole is not None
        bare = cut(model, whole.model_copy(update={"features": ()}), BUILTIN)
        weights = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in model.graph.initializer}
        old = with_head(bare, Head(weights["head.weight"], weights["head.bias"]), whole)
        modelfile.save(old, tmp_path / "old.onnx")
        frames = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8)
        with everyframe.open("builtin") as a, everyframe.open(tmp_path / "old.onnx") as b:
            one, other = a.stream(), b.stream()
            for frame in frames:
                p, q = one.push(frame), other.push(frame)
                np.testing.assert_allclose(p.logits, q.logits, atol=1e-4)  # type: ignore[union-attr]

    def test_features_beside_are_means_of_the_wires_that_the_metadata_names(self, tmp_path: Path) -> None:
        """Over the newest frames, or as many as there are; a window of one is the wire itself."""
        model = modelfile.load(BUILTIN)
        metadata = modelfile.metadata_of(model)
        assert metadata is not None
        wires = (("follow.0.add", 3), ("follow.2.add", 1), ("look.relu#5", 20))
        table = tuple(FeatureSpec(wire=wire, window=window) for wire, window in wires)
        bare = cut(model, metadata.model_copy(update={"features": table}), BUILTIN)
        assert bare.width == 3 * 96 and bare.metadata.features == ()
        for wire, _ in wires:
            bare.model.graph.output.append(helper.make_tensor_value_info(wire, onnx.TensorProto.FLOAT, [1, 96, 1, 1]))
        walk, rng, seen = Walk(bare.model, states=bare.metadata.states), np.random.default_rng(3), []
        for _ in range(30):
            found = walk.step(rng.standard_normal((1, 1, *built_in_size())).astype(np.float32))
            seen.append([found[wire].reshape(96) for wire, _ in wires])
            wanted = [np.mean([row[k] for row in seen[-window:]], 0) for k, (_, window) in enumerate(wires)]
            np.testing.assert_allclose(found[bare.features][0], np.concatenate(wanted), atol=1e-5)

    def test_features_of_a_model_that_has_the_wires_no_longer_are_the_classifiers(self) -> None:
        model = modelfile.load(BUILTIN)
        metadata = modelfile.metadata_of(model)
        assert metadata is not None
        gone = metadata.model_copy(update={"features": (FeatureSpec(wire="rewritten", window=16),)})
        assert cut(model, gone, BUILTIN).width == cut(model, metadata.model_copy(update={"features": ()}), BUILTIN).width == 192
        short, told = shortened(model, metadata, 4)
        assert cut(short, told, BUILTIN).width == 192, "--window is about the classifier's"

    @pytest.mark.parametrize("form", ["logits averaged over time", "convolution, activation, pool"])
    def test_classifiers_in_front_of_the_window(self, form: str, tmp_path: Path) -> None:
        """As TSM and SqueezeNet have them: what stands behind then carries features."""
        clip = late_pool(tmp_path / "clip.onnx", relu=form != "logits averaged over time")
        made = convert(modelfile.load(clip))
        bare = cut(made.step, made.metadata, clip)
        assert bare.width == 6
        rng, states = np.random.default_rng(1), {s.input: np.full(s.shape, s.fill, s.dtype) for s in bare.metadata.states}
        assert {s.shape for s in bare.metadata.states} != {s.shape for s in made.metadata.states} or not states
        head = Head(rng.normal(size=(3, 6)), rng.normal(size=3))
        labels = made.metadata.model_copy(update={"states": bare.metadata.states, "labels": ("a", "b", "c")})
        modelfile.save(with_head(bare, head, labels), tmp_path / "taught.onnx")
        frames = rng.random((20, 3, 12, 16)).astype(np.float32)
        expected = late_pool_features(modelfile.load(clip), frames)
        with everyframe.open(tmp_path / "taught.onnx") as program:
            stream = program.stream()
            for t, frame in enumerate(frames):
                prediction = stream.step(frame[None])
                window = expected[max(0, t - 7) : t + 1].mean(0)
                np.testing.assert_allclose(prediction.logits, head.logits(window), rtol=1e-4, atol=1e-4)  # type: ignore[union-attr]

    def test_a_model_without_a_classifier_names_what_it_found(self, tmp_path: Path) -> None:
        model = modelfile.load(BUILTIN)
        node = next(n for n in model.graph.node if n.output[0] == "logits")
        node.op_type, node.input[:] = "Softmax", ["state.t.in"]
        del node.attribute[:]
        with pytest.raises(ModelError, match="Softmax"):
            cut(model, modelfile.metadata_of(model), "x.onnx")  # type: ignore[arg-type]

    @pytest.mark.parametrize("window", [1, 5])
    def test_a_shorter_window_is_that_of_a_new_conversion(self, window: int, tmp_path: Path) -> None:
        from everyframe.conversion.facts import Options

        clip = modelfile.load(clip_net(tmp_path / "clip.onnx", labels=tuple("abcd")))
        made, fresh = convert(clip), convert(clip, Options(window=window))
        short, metadata = shortened(made.step, made.metadata, window)
        assert (metadata.window, metadata.delay, metadata.receptive_field) == (
            fresh.metadata.window, fresh.metadata.delay, fresh.metadata.receptive_field
        )  # fmt: skip
        modelfile.save(attach(short, metadata), tmp_path / "short.onnx")
        modelfile.save(fresh.step, tmp_path / "fresh.onnx")
        frames = np.random.default_rng(2).random((25, 3, 12, 16)).astype(np.float32)
        with everyframe.open(tmp_path / "short.onnx") as a, everyframe.open(tmp_path / "fresh.onnx") as b:
            one, other = a.stream(), b.stream()
            for frame in frames:
                p, q = one.step(frame[None]), other.step(frame[None])
                assert (p is None) == (q is None)
                if p is not None and q is not None:
                    np.testing.assert_allclose(p.logits, q.logits, atol=1e-5)

    def test_a_longer_window_asks_for_the_clip_model(self) -> None:
        model = modelfile.load(BUILTIN)
        with pytest.raises(UsageError, match="clip model"):
            shortened(model, modelfile.metadata_of(model), 20)  # type: ignore[arg-type]


def late_pool(path: Path, *, relu: bool) -> Path:
    """Conv 3x3 a frame - Conv 1x1 to 4 classes - (Relu) - mean over T, H, W: (1, 3, 8, 12, 16) -> (1, 4)."""
    from onnx import TensorProto, helper

    from handmade import model, tensor

    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("Conv", ["clip", "stem.weight"], ["a"], "stem", kernel_shape=[1, 3, 3], strides=[1, 4, 4], pads=[0] * 6),
        helper.make_node("Conv", ["a", "fc.weight", "fc.bias"], ["b"], "fc", kernel_shape=[1, 1, 1]),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("ReduceMean", ["c" if relu else "b"], ["logits"], "pool", axes=[2, 3, 4], keepdims=0),
    ]  # fmt: skip
    weights = [
        tensor("stem.weight", rng.normal(size=(6, 3, 1, 3, 3))), tensor("fc.weight", rng.normal(size=(4, 6, 1, 1, 1))),
        tensor("fc.bias", rng.normal(size=4)),
    ]  # fmt: skip
    made = model(
        [n for n in nodes if relu or n.op_type != "Relu"], {"clip": (TensorProto.FLOAT, (1, 3, 8, 12, 16))},
        {"logits": (TensorProto.FLOAT, (1, 4))}, weights,
    )  # fmt: skip
    return modelfile.save(attach(made, Metadata(kind="clip", frames=8, preprocess=Preprocess(resize=(12, 16)))), path)


def late_pool_features(clip: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    """(N, 6): the stem of `late_pool` on single frames, averaged over space, by plain loops over its kernel."""
    kernel = onnx.numpy_helper.to_array(clip.graph.initializer[0])[:, :, 0].astype(float)  # (6, 3, 3, 3)
    height, width = (frames.shape[2] - 3) // 4 + 1, (frames.shape[3] - 3) // 4 + 1
    found = [
        np.einsum("ncij,kcij->nk", frames[:, :, 4 * y : 4 * y + 3, 4 * x : 4 * x + 3], kernel)
        for y in range(height) for x in range(width)
    ]  # fmt: skip
    return np.mean(found, axis=0)


class TestBadInput:
    @pytest.fixture
    def clips(self, folder: Path, tmp_path: Path) -> Path:
        for label in ("wave", "swipe_up"):
            (tmp_path / "clips" / label).mkdir(parents=True)
            for i in range(2):
                shutil.copy(folder / label / f"{i}.mp4", tmp_path / "clips" / label)
        return tmp_path / "clips"

    def refused(self, kind: type[EveryframeError], says: str, clips: Path, **changes: object) -> None:
        out = clips.parent / "mine.onnx"
        with pytest.raises(kind, match=says):
            teach(**{"model": "builtin", "examples": clips, "output": out} | changes)  # type: ignore[arg-type]
        assert not out.exists()

    def test_too_few(self, clips: Path) -> None:
        (clips / "wave" / "1.mp4").unlink()
        self.refused(UsageError, "wave: 1", clips)
        shutil.rmtree(clips / "wave")
        self.refused(UsageError, "nothing to tell apart", clips)
        shutil.rmtree(clips / "swipe_up")
        self.refused(SourceError, "no gestures", clips)
        self.refused(SourceError, "no such folder", clips, examples=clips / "nowhere")

    def test_one_gesture_and_background_is_a_detector(self, clips: Path) -> None:
        clips = clips.rename(clips.parent / "one")
        (clips / "wave").rename(clips / "none")
        assert teach("builtin", clips, clips.parent / "mine.onnx").learned.labels == ("none", "swipe_up")

    def test_a_broken_example_is_left_out_and_named(self, clips: Path) -> None:
        (clips / "wave" / "bad.mp4").write_bytes(b"not a video")
        write_video(clips / "wave" / "short.mp4", 2)
        unknown = write_video(clips / "wave" / "unknown.mp4", 20, codec="libx264")
        unknown.write_bytes(unknown.read_bytes().replace(b"avc1", b"zzzz"))
        made = teach("builtin", clips, clips.parent / "mine.onnx")
        assert sorted(Path(str(error.where)).name for error in made.broken) == ["bad.mp4", "short.mp4", "unknown.mp4"]
        assert made.counts["wave"] == 2
        (clips / "wave" / "1.mp4").unlink()
        (clips.parent / "mine.onnx").unlink()
        self.refused(UsageError, r"bad\.mp4", clips)

    def test_output_and_model_are_checked_first(self, clips: Path) -> None:
        self.refused(OutputError, "does not exist", clips, output=clips / "no" / "folder" / "x.onnx")
        self.refused(ModelError, "no such model", clips, model="missing.onnx")

    def test_a_clip_model_is_converted(self, clips: Path) -> None:
        clip = clip_net(clips.parent / "clip.onnx", labels=tuple("abcd"), preprocess=Preprocess(resize=(12, 16), fps=FPS))
        made = teach(clip, clips, clips.parent / "mine.onnx", window=4)
        assert made.window == 4 and any("converted" in note for note in made.notes)
        with everyframe.open(made.path) as program:
            assert program.labels == ("none", "swipe_up", "wave")

    def test_on_the_command_line(self, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def run(*arguments: str) -> int:
            with pytest.raises(SystemExit) as done:
                main.run(["teach", *arguments])
            return int(done.value.code or 0)

        out = clips.parent / "mine.onnx"
        assert run("builtin", "--examples", str(clips), "-o", str(out), "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["labels"] == ["none", "swipe_up", "wave"]
        assert run(str(clips), "-o", str(out), "--json") == 0
        assert json.loads(capsys.readouterr().out)["labels"] == told["labels"], "a folder alone holds examples"
        assert run("builtin", "--examples", str(clips), "-o", str(out)) == 0
        shown = capsys.readouterr().out
        assert "swipe_up" in shown and "event rule" in shown and f"everyframe predict {out}" in shown
        assert run() == 2 and "--examples" in capsys.readouterr().err
        assert run("--gesture", "a") == 2 and "--camera" in capsys.readouterr().err


def test_each_class_weighs_the_same(folder: Path) -> None:
    reader = Reader(backbone(), "builtin")
    from everyframe.teaching.examples import folders

    taken = [e for clip in folders(folder, "none") for e in reader.read(clip)][:12]
    labels = ("none", *sorted({e.label for e in taken if e.label}))
    rows = rows_of(taken, labels, 12)
    assert [rows.weight[rows.label == k].sum() for k in range(len(labels))] == pytest.approx([1.0] * len(labels))
