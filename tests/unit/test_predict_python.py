"""`everyframe.open(...)`, streams and `predict` from Python, on handmade networks and small videos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.errors import EngineError, ModelError, SourceError, StateError, UsageError
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.schema import EventRule, Preprocess
from everyframe.runtime import ENGINES, Prediction
from everyframe.runtime.prediction import best, softmax
from everyframe.video import prepare
from running import at_once

DARK, BRIGHT, MEDIUM = 0, 1, 2


@pytest.fixture
def step(tmp_path: Path) -> Path:
    return handmade.brightness_step(tmp_path / "step.onnx")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """4 s at 30 fps: dark, then bright from 2 s on."""
    return handmade.write_video(tmp_path / "v.mp4", 120, draw=lambda i: handmade.picture(230 if i >= 60 else 20))


def level(value: float, hop: int = 1) -> np.ndarray:
    return np.full((hop, 1, 12, 16), value, np.float32)


class TestStream:
    def test_nothing_before_the_first_frame_is_fully_seen(self, step: Path) -> None:
        with everyframe.open(step) as program, program.stream() as stream:
            answers = [stream.step(level(1.0)) for _ in range(6)]
        assert [a is None for a in answers] == [True, True, True, False, False, False]
        first = answers[3]
        assert first is not None
        assert (first.frame, first.pts_s) == (3, pytest.approx(0.3))
        assert (first.top[0].label, first.top[0].index) == ("bright", BRIGHT)
        assert first.top[0].score == pytest.approx(first.scores[BRIGHT])
        assert first.scores.sum() == pytest.approx(1)
        assert first.latency_ms > 0
        assert (first.source, first.source_frame, first.event) == (None, None, None)

    @pytest.mark.parametrize(("hop", "delay", "first"), [(2, 6, 7), (2, 7, 7), (2, 8, 9), (3, 0, 2), (4, 12, 15)])
    def test_the_first_prediction_comes_in_the_step_that_holds_the_delay(
        self, tmp_path: Path, hop: int, delay: int, first: int
    ) -> None:
        path = handmade.brightness_step(tmp_path / "s.onnx", hop=hop, feature_delay=delay)
        with everyframe.open(path) as program, program.stream() as stream:
            got = [p.frame for _ in range(8) if (p := stream.step(level(0.1, hop))) is not None]
        assert got == list(range(first, 8 * hop, hop))

    def test_pictures_and_floats_say_the_same(self, step: Path) -> None:
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (6, 90, 120, 3), dtype=np.uint8)
        with everyframe.open(step) as program:
            how = program.metadata.preprocess
            tensors = [prepare(p, how).transpose(2, 0, 1)[None].astype(np.float32) * np.float32(how.scale) for p in pictures]
            stacked, pushed, floats = program.stream(), program.stream(), program.stream()
            for picture, tensor in zip(pictures, tensors, strict=True):
                a, b, c = stacked.step(picture[None]), pushed.push(picture), floats.step(tensor)
                assert (a is None) == (b is None) == (c is None)
                if a and b and c:
                    np.testing.assert_array_equal(a.logits, b.logits)
                    np.testing.assert_allclose(a.logits, c.logits, rtol=1e-5, atol=1e-5)

    def test_push_gathers_a_step(self, tmp_path: Path) -> None:
        path = handmade.brightness_step(tmp_path / "s.onnx", hop=3)
        with everyframe.open(path) as program, program.stream() as stream:
            got = [stream.push(handmade.picture(255), pts_s=i / 10) for i in range(12)]
            assert [i for i, p in enumerate(got) if p] == [11]
            assert got[11] is not None and (got[11].frame, got[11].pts_s) == (11, 1.1)
            stream.push(handmade.picture(0))
            with pytest.raises(StateError, match=r"middle of another(.|\n)*multiple of 3(.|\n)*1 pushed"):
                stream.step(level(0.5, 3))

    def test_reset_is_a_fresh_start(self, step: Path) -> None:
        values = [0.1, 0.9, 0.4, 0.6, 0.2, 0.8]
        with everyframe.open(step) as program, program.stream() as stream:
            runs = []
            for stop in (6, 1, 3, 6):
                runs.append([p.logits for v in values[:stop] if (p := stream.step(level(v)))])
                stream.reset()
        np.testing.assert_array_equal(runs[0], runs[3])

    def test_streams_in_threads_do_not_mix(self, step: Path) -> None:
        def run(i: int) -> list[float]:
            return [float(p.logits[BRIGHT]) for _ in range(40) if (p := streams[i].step(level(i / 4)))]

        with everyframe.open(step, threads=2) as program:
            streams = [program.stream() for _ in range(4)]
            outs = at_once(run, 4)
        for i, out in enumerate(outs):
            np.testing.assert_allclose(out, [(i / 4 - 0.5) * 20] * 37, rtol=1e-5)

    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            (np.zeros((1, 3, 12, 16), np.float32), r"expected: \(1, 1, 12, 16\)\n  got:      \(1, 3, 12, 16\)"),
            (np.zeros((2, 1, 12, 16), np.float32), r"expected: \(1, 1, 12, 16\)"),
            (np.zeros((1, 1, 12, 17), np.float32), r"got:      \(1, 1, 12, 17\)"),
            (np.zeros((12,), np.float32), r"got:      \(12,\)"),
            (np.zeros((1, 1, 12, 16), np.int64), r"float32 \(normalized\) or uint8 \(pictures\)(.|\n)*int64"),
            (np.zeros((2, 48, 64, 3), np.uint8), r"uint8 \(1, h, w, 3\)(.|\n)*\(2, 48, 64, 3\)"),
            (np.zeros((48, 64), np.uint8), r"uint8 \(1, h, w, 3\)"),
        ],
    )
    def test_frames_of_another_shape(self, step: Path, frames: np.ndarray, message: str) -> None:
        with everyframe.open(step) as program, program.stream() as stream, pytest.raises(StateError, match=message):
            stream.step(frames)

    def test_a_refused_step_leaves_the_state_alone(self, step: Path) -> None:
        with everyframe.open(step) as program, program.stream() as stream, program.stream() as undisturbed:
            for i in range(6):
                with pytest.raises(StateError, match="changed their size" if i else "do not have the shape"):
                    stream.step(np.zeros((1, 1, 9, 9), np.float32))
                a, b = stream.step(level(i / 6)), undisturbed.step(level(i / 6))
                assert (a and a.logits.tolist()) == (b and b.logits.tolist())

    def test_closed(self, step: Path) -> None:
        program = everyframe.open(step)
        first, second = program.stream(), program.stream()
        first.close()
        first.close()
        with pytest.raises(StateError, match="stream is closed"):
            first.step(level(0))
        with pytest.raises(StateError, match="stream is closed"):
            first.reset()
        assert second.step(level(0)) is None
        program.close()
        with pytest.raises(StateError, match="stream is closed"):
            second.step(level(0))
        with pytest.raises(StateError, match="program is closed"):
            program.stream()

    def test_nan_frames_are_said_and_a_reset_recovers(self, step: Path) -> None:
        with everyframe.open(step) as program, program.stream() as stream:
            for _ in range(3):
                stream.step(level(float("nan")))
            with pytest.raises(EngineError, match=r"not finite(.|\n)*frame 3 \(0\.30 s\)(.|\n)*3 of 3 logits"):
                stream.step(level(0))
            stream.reset()
            assert [stream.step(level(1)) for _ in range(4)][3] is not None

    def test_events(self, tmp_path: Path) -> None:
        rule = EventRule(background="medium", threshold=0.9, refractory_s=0.1, rearm=0.3)
        path = handmade.brightness_step(tmp_path / "s.onnx", window=2, events=rule)
        values = [0.5] * 4 + [0.9] * 4 + [0.5] * 4 + [0.1] * 4
        with everyframe.open(path) as program, program.stream() as stream:
            events = [(p.event.label, p.event.pts_s) for v in values if (p := stream.step(level(v))) and p.event]
            assert [e[0] for e in events] == ["bright", "dark"]
            np.testing.assert_allclose([e[1] for e in events], [0.5, 1.3], atol=0.11)

    @pytest.mark.parametrize("engine", ["auto", *ENGINES])
    def test_engines_agree(self, step: Path, engine: str) -> None:
        with everyframe.open(step, engine=engine) as program, program.stream() as stream:
            got = [p.logits for i in range(8) if (p := stream.step(level(i / 8)))]
        expected = [(np.mean([j / 8 for j in range(i - 3, i + 1)]) - 0.5) * np.array([-20, 20, 0]) for i in range(3, 8)]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    def test_a_model_that_normalizes_by_itself_takes_bytes(self, tmp_path: Path, step: Path) -> None:
        from onnx import TensorProto, helper

        made = load(step)
        meta = metadata_of(made)
        assert meta is not None
        frames = made.graph.input[0]
        frames.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.UINT8, (1, 12, 16, 1)))
        frames.name = "bytes"
        made.graph.initializer.append(handmade.tensor("scale", [1 / 255]))
        for node in reversed([
            helper.make_node("Cast", ["bytes"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["floats"], ["turned"], perm=[0, 3, 1, 2]),
            helper.make_node("Mul", ["turned", "scale"], ["frames"]),
        ]):  # fmt: skip
            made.graph.node.insert(0, node)
        folded = save(attach(made, meta), tmp_path / "folded.onnx")
        with everyframe.open(step) as plain, everyframe.open(folded) as bytewise:
            a, b = plain.stream(), bytewise.stream()
            for i in range(5):
                one, two = a.push(handmade.picture(50 * i)), b.push(handmade.picture(50 * i))
            assert one is not None and two is not None
            np.testing.assert_allclose(one.logits, two.logits, rtol=1e-5)
            with pytest.raises(StateError, match="expected: uint8"):
                b.step(level(0))


class TestPredict:
    def test_a_prediction_for_every_frame(self, step: Path, video: Path) -> None:
        with everyframe.open(step) as program:
            got = list(program.predict(str(video)))
        assert [p.frame for p in got] == list(range(3, 40))
        np.testing.assert_allclose([p.pts_s for p in got], np.arange(3, 40) / 10)
        assert [p.source_frame for p in got] == list(range(9, 120, 3))
        assert {p.source for p in got} == {str(video)}
        assert (got[0].top[0].label, got[-1].top[0].label) == ("dark", "bright")
        change = next(p.pts_s for p in got if p.top[0].label == "bright")
        assert 2.0 <= change <= 2.3

    def test_it_equals_stepping_by_hand(self, step: Path, video: Path) -> None:
        import av

        with everyframe.open(step) as program, av.open(str(video)) as container:
            stream = program.stream()
            by_hand = [
                p
                for i, f in enumerate(container.decode(video=0))
                if i % 3 == 0 and (p := stream.push(f.to_ndarray(format="rgb24")))
            ]
            played = list(program.predict(video))
        np.testing.assert_allclose([p.logits for p in played], [p.logits for p in by_hand], atol=0.2)

    def test_several_videos_each_start_afresh(self, tmp_path: Path, step: Path) -> None:
        folder = tmp_path / "videos"
        folder.mkdir()
        for name, value in (("v1.mp4", 20), ("v2.mp4", 230)):
            handmade.write_video(folder / name, 30, draw=lambda i, value=value: handmade.picture(value))
        with everyframe.open(step) as program:
            got = list(program.predict(folder))
            assert [p.frame for p in got] == [*range(3, 10)] * 2
            assert [p.top[0].label for p in got] == ["dark"] * 7 + ["bright"] * 7
            assert [p.frame for p in program.predict(folder, max_frames=5)] == [3, 4] * 2
            assert [p.frame for p in program.predict(folder, seconds=0.45)] == [3, 4] * 2

    def test_top_k(self, step: Path, video: Path) -> None:
        with everyframe.open(step) as program:
            assert {len(p.top) for p in program.predict(video, top_k=2)} == {2}
            assert {len(p.top) for p in program.predict(video, top_k=9)} == {3}

    def test_a_clip_model_slides_its_window(self, tmp_path: Path, step: Path, video: Path) -> None:
        """At stride 1 the clip network and its step network say the same, frame by frame."""
        clip = handmade.brightness_clip(tmp_path / "clip.onnx")
        with everyframe.open(clip) as clips, everyframe.open(step) as steps:
            dense, stepped = list(clips.predict(video, stride=1)), list(steps.predict(video))
            assert [p.frame for p in dense] == [p.frame for p in stepped]
            np.testing.assert_allclose([p.logits for p in dense], [p.logits for p in stepped], rtol=1e-4, atol=1e-4)
            assert [p.frame for p in clips.predict(video)] == list(range(3, 40, 2)), "the default is half a clip"
            assert [p.frame for p in clips.predict(video, stride=7)] == list(range(3, 40, 7))
            every = list(clips.predict(video, stride=4))
            np.testing.assert_allclose([p.logits for p in every], [p.logits for p in dense[::4]], rtol=1e-6)
            stream = clips.stream(stride=4)
            tensors = np.random.default_rng(0).random((9, 1, 12, 16), np.float32)
            answer = stream.step(tensors)
            assert answer is not None and answer.frame == 7
            assert answer.logits[1] == pytest.approx((tensors[4:8].mean() - 0.5) * 20, rel=1e-4)
            stream.reset()
            assert stream.step(tensors[:3]) is None

    def test_wrong_arguments_are_said_at_the_call(self, tmp_path: Path, step: Path, video: Path) -> None:
        clip = handmade.brightness_clip(tmp_path / "clip.onnx")
        with everyframe.open(step) as program, everyframe.open(clip) as clips:
            for call, error, message in (
                (lambda: program.predict("missing.mp4"), SourceError, "no such video"),
                (lambda: program.predict(video, stride=2), UsageError, "stride is for clip models"),
                (lambda: clips.predict(video, stride=0), UsageError, "stride must be positive"),
                (lambda: program.predict(video, top_k=0), UsageError, "top_k"),
                (lambda: list(program.predict(video, seconds=0)), UsageError, "limit must be positive"),
                (lambda: everyframe.open(step, threads=0), UsageError, "threads"),
                (lambda: everyframe.open(step, threads=100_000), UsageError, "threads"),
                (lambda: everyframe.open(step, engine="warp"), EngineError, "auto, ort, reference"),
                (lambda: everyframe.open(step, labels=["a"]), ModelError, r"3 labels, one per logit(.|\n)*got: +1"),
            ):
                with pytest.raises(error, match=message):
                    call()

    def test_a_video_of_another_size_for_a_model_that_does_not_resize(self, tmp_path: Path, video: Path) -> None:
        how = Preprocess(color="gray", mean=(0.0,), std=(1.0,))
        path = handmade.brightness_step(tmp_path / "s.onnx", preprocess=how)
        with (
            everyframe.open(path) as program,
            pytest.raises(SourceError, match=r"size the model takes(.|\n)*12x16(.|\n)*48x64(.|\n)*resize"),
        ):
            list(program.predict(video))

    def test_labels(self, tmp_path: Path, video: Path) -> None:
        nameless = handmade.brightness_step(tmp_path / "n.onnx", labels=None)
        with everyframe.open(nameless) as program:
            assert next(iter(program.predict(video))).top[0].label == "class 0"
        with everyframe.open(nameless, labels=["x", "y", "z"]) as program:
            assert next(iter(program.predict(video))).top[0].label == "x"

    def test_leaving_early_ends_the_decoding(self, step: Path, video: Path) -> None:
        from everyframe.video import resolve

        with everyframe.open(step) as program:
            for _ in program.predict(video):
                break
            with program.play(resolve(video)[0]) as playback:
                next(playback)
                process = playback._reader._process
            assert process.poll() is not None
            assert list(playback) == []

    def test_a_script_needs_no_main_guard_and_no_torch(self, tmp_path: Path, step: Path, video: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "import sys, everyframe\n"
            f"for p in everyframe.open({str(step)!r}).predict({str(video)!r}): last = p\n"
            "print(last.frame, last.top[0].label, 'torch' in sys.modules)\n"
        )
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("39 bright False\n", "")


def test_the_same_video_gives_the_same_answer_each_time(step: Path, video: Path) -> None:
    with everyframe.open(step) as program:
        one, two = ([p.to_dict() for p in program.predict(video)] for _ in range(2))
    assert one == two


def test_softmax_and_best() -> None:
    scores = softmax(np.array([1000.0, 1000.0, -1000.0]))
    np.testing.assert_allclose(scores, [0.5, 0.5, 0])
    assert [(t.label, t.index) for t in best(scores, "abc", 2)] == [("a", 0), ("b", 1)]


def test_a_prediction_as_json() -> None:
    scores = np.array([0.25, 0.75], np.float32)
    prediction = Prediction(3, 0.1, scores, np.log(scores), best(scores, ["a", "b"], 2))
    assert prediction.to_dict() == {
        "frame": 3,
        "pts_s": 0.1,
        "top": [{"label": "b", "index": 1, "score": 0.75}, {"label": "a", "index": 0, "score": 0.25}],
    }


def test_what_is_no_error_is_told(step: Path, video: Path) -> None:
    assert everyframe.predict(step, video).notes == []
    video.write_bytes(video.read_bytes() * 2)
    found = everyframe.predict(step, video)
    (note,) = found.notes
    assert "glued behind" in note and found[:3].notes == found.to_dict()["notes"] == [note]
