"""One suite for every engine: each must say what a direct computation over the whole video says, for every form of
state.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import handmade
from everyframe.conversion.step import stream
from everyframe.errors import EngineError, ModelError
from everyframe.modelfile.file import Held, load
from everyframe.modelfile.schema import StateSpec
from everyframe.modelfile.walk import Walk
from everyframe.runtime import BUILTIN
from everyframe.runtime import engine as engines
from everyframe.runtime.states import Rotation, StatePlan, plan, without_copies
from laws.test_several_inputs import PLAIN, T
from running import at_once

NETS = {
    "ring": {"form": "ring"},
    "slots": {"form": "slots"},
    "long ring": {"form": "ring", "taps": 6},
    "long slots": {"form": "slots", "taps": 6},
    "two slots": {"form": "slots", "taps": 2},
    "fill": {"form": "slots", "fill": -3.0},
    "ring fill": {"form": "ring", "fill": 0.5},
    "counter": {"form": "slots", "counter": True},
    "hop 2": {"form": "ring", "hop": 2},
    "hop 5, past shorter than hop": {"form": "ring", "hop": 5, "taps": 2, "counter": True},
}

#: every engine; one that is an extra is skipped where it is not installed
ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "openvino" and find_spec("openvino") is None,
            reason="openvino is not installed: pip install 'everyframe[openvino]'",
        ),
    )
    for name in engines.ENGINES
]


def job(path: Path) -> engines.Job:
    from everyframe.modelfile.file import metadata_of

    model = load(path)
    metadata = metadata_of(model)
    assert metadata is not None
    others = tuple(spec.name for spec in metadata.outputs)
    return engines.Job(model, str(path), "frames", "logits", plan(metadata.states, path), threads=1, others=others)


def video(net: dict[str, Any], steps: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps * net["hop"], 2, 4, 5)).astype(np.float32)


def run(stream: engines.Run, frames: np.ndarray, hop: int) -> np.ndarray:
    return np.concatenate([stream.step(frames[i : i + hop]) for i in range(0, len(frames), hop)])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(NETS))
class TestEveryEngine:
    def test_says_what_a_computation_over_the_whole_video_says(self, tmp_path: Path, engine: str, name: str) -> None:
        net = handmade.conv_step(tmp_path / "net.onnx", **NETS[name])
        frames = video(net)
        expected = handmade.conv_oracle(net, frames, NETS[name].get("fill", 0.0))
        network = engines.load(engine, job(tmp_path / "net.onnx"))
        np.testing.assert_allclose(run(network.start(), frames, net["hop"]), expected, rtol=1e-5, atol=1e-6)

    def test_reset_is_a_fresh_start(self, tmp_path: Path, engine: str, name: str) -> None:
        net = handmade.conv_step(tmp_path / "net.onnx", **NETS[name])
        frames = video(net)
        stream = engines.load(engine, job(tmp_path / "net.onnx")).start()
        first = run(stream, frames, net["hop"])
        for stop in (1, 2, 5):  # in any phase of the rotation
            run(stream, video(net, stop, seed=stop), net["hop"])
            stream.reset()
            np.testing.assert_array_equal(run(stream, frames, net["hop"]), first)

    def test_two_streams_do_not_mix(self, tmp_path: Path, engine: str, name: str) -> None:
        net = handmade.conv_step(tmp_path / "net.onnx", **NETS[name])
        hop, (one, two) = net["hop"], (video(net, seed=1), video(net, seed=2))
        network = engines.load(engine, job(tmp_path / "net.onnx"))
        alone = [run(network.start(), frames, hop) for frames in (one, two)]
        a, b = network.start(), network.start()
        mixed = [(a.step(one[i : i + hop]), b.step(two[i : i + hop])) for i in range(0, len(one), hop)]
        np.testing.assert_array_equal(np.concatenate([m[0] for m in mixed]), alone[0])
        np.testing.assert_array_equal(np.concatenate([m[1] for m in mixed]), alone[1])

    def test_streams_in_threads_do_not_mix(self, tmp_path: Path, engine: str, name: str) -> None:
        net = handmade.conv_step(tmp_path / "net.onnx", **NETS[name])
        network = engines.load(engine, job(tmp_path / "net.onnx"))
        videos = [video(net, 12, seed=s) for s in range(3)]
        alone = [run(network.start(), frames, net["hop"]) for frames in videos]
        got = at_once(lambda i: run(network.start(), videos[i], net["hop"]), 3)
        for i in range(3):
            np.testing.assert_array_equal(got[i], alone[i])

    def test_answers_and_inputs_stay_the_callers(self, tmp_path: Path, engine: str, name: str) -> None:
        """A later step changes neither earlier logits nor the frames, and a frame array may be filled again."""
        net = handmade.conv_step(tmp_path / "net.onnx", **NETS[name])
        frames, hop = video(net), net["hop"]
        network = engines.load(engine, job(tmp_path / "net.onnx"))
        expected, kept = run(network.start(), frames, hop), frames.copy()
        stream, same = network.start(), np.empty_like(frames[:hop])
        answers = []
        for i in range(0, len(frames), hop):
            same[:] = frames[i : i + hop]
            answers.append(stream.step(same))
        np.testing.assert_array_equal(np.concatenate(answers), expected)
        np.testing.assert_array_equal(frames, kept)


@pytest.mark.parametrize("engine", [*ENGINES, "auto"])
@pytest.mark.parametrize("name", ["ring", "slots", "counter", "hop 2"])
def test_all_outputs_are_given_and_stay_the_callers(tmp_path: Path, engine: str, name: str) -> None:
    """Maps and vectors beside the logits, in the shapes of the graph; a later step changes none of them."""
    net = handmade.conv_step(tmp_path / "net.onnx", others=True, **NETS[name])
    frames, hop = video(net), net["hop"]
    stream = engines.load(engine, job(tmp_path / "net.onnx")).start()
    logits, others = [], []
    for i in range(0, len(frames), hop):
        logits.append(stream.step(frames[i : i + hop]))
        others.append(dict(stream.others))
    np.testing.assert_allclose(np.concatenate(logits), handmade.conv_oracle(net, frames), rtol=1e-5, atol=1e-6)
    maps = handmade.conv_maps(net, frames)
    assert [set(each) for each in others] == [{"maps", "means"}] * len(logits)
    np.testing.assert_allclose(np.concatenate([each["maps"] for each in others]), maps, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([each["means"] for each in others]), maps.mean((2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", [*ENGINES, "auto"])
def test_several_inputs_are_given_by_name(several: Path, engine: str) -> None:
    """Pictures, slower arrays and a value without frames: what the plainest loop says, and other streams change nothing."""
    model = load(several)
    walk, rng = Walk(model), np.random.default_rng(0)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input if v.name in walk.frames}
    frames = [{name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(8)]
    given = job(several)
    network = engines.load(engine, replace(given, frames=walk.frames[0], more=walk.frames[1:]))
    one, two = network.start(), network.start()
    for n, step in enumerate(frames):
        kept = {name: array.copy() for name, array in step.items()}
        two.step(frames[-1 - n])
        np.testing.assert_allclose(one.step(step), walk.step(step)["logits"], rtol=1e-4, atol=1e-5)
        for name, array in step.items():
            np.testing.assert_array_equal(array, kept[name])


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "several.onnx"
    stream(Held(PLAIN.build(T, mean=True)), path, layout=PLAIN.layout)
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_the_built_in_model_says_what_the_plainest_loop_says(engine: str) -> None:
    """A converted network with everything: rotated slots, masks, a counter. Fed by hand, outputs to inputs, copies included."""
    if not BUILTIN.exists():
        pytest.skip("the built-in model is not packaged")
    whole = job(BUILTIN)
    assert whole.states.slots, "it has states that only repeat others"
    session = onnxruntime.InferenceSession(whole.model.SerializeToString(), providers=["CPUExecutionProvider"])
    state = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in whole.states.specs}
    shape = [d.dim_value for d in whole.model.graph.input[0].type.tensor_type.shape.dim]
    stream = engines.load(engine, whole).start()
    for n in range(40 if engine == "ort" else 8):
        frames = np.random.default_rng(n).random(shape, np.float32)
        names = ["logits", *(spec.output for spec in whole.states.specs)]
        expected, *new = session.run(names, {"frames": frames, **state})
        state = {spec.input: value for spec, value in zip(whole.states.specs, new, strict=True)}
        np.testing.assert_allclose(stream.step(frames), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_cannot_be_loaded_is_an_engine_error(tmp_path: Path, engine: str) -> None:
    handmade.conv_step(tmp_path / "net.onnx")
    broken = job(tmp_path / "net.onnx")
    broken.model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(EngineError, match=r"load|run"):
        network = engines.load(engine, broken)
        network.start().step(np.zeros((1, 2, 4, 5), np.float32))


def test_an_unknown_engine_is_named_with_those_that_exist(tmp_path: Path) -> None:
    handmade.conv_step(tmp_path / "net.onnx")
    with pytest.raises(EngineError, match=r"no such engine(.|\n)*auto, ort, reference(.|\n)*tensorrt"):
        engines.load("tensorrt", job(tmp_path / "net.onnx"))


def test_an_engine_that_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handmade.conv_step(tmp_path / "net.onnx")
    monkeypatch.setitem(engines.ENGINES, "board", ("no_such_module_at_all", "load"))
    with pytest.raises(EngineError, match="board is not installed"):
        engines.load("board", job(tmp_path / "net.onnx"))


class TestRotation:
    """The host's bookkeeping, without a network."""

    SLOTS = tuple(
        StateSpec(input=f"s{k}.in", output=f"s{k}.out", shape=(1, 2), copy_of=f"s{k - 1}.in" if k else None) for k in range(4)
    )

    def test_a_ring_of_l_slots_settles_at_l_plus_one_buffers(self) -> None:
        rotation = Rotation(plan(self.SLOTS, "test"))
        seen: set[int] = set()
        for _ in range(50):
            rotation.advance()
            seen |= {id(b) for b in (*rotation.inputs.values(), *rotation.outputs.values())}
        assert len(seen) == 5
        assert rotation.nbytes == 5 * 8

    def test_a_lone_state_ping_pongs(self) -> None:
        rotation = Rotation(plan(self.SLOTS[:1], "test"))
        first, second = rotation.inputs["s0.in"], rotation.outputs["s0.out"]
        rotation.advance()
        assert (rotation.inputs["s0.in"] is second, rotation.outputs["s0.out"] is first) == (True, True)

    def test_nothing_that_is_read_is_written(self) -> None:
        twins = (
            *self.SLOTS,
            StateSpec(input="twin.in", output="twin.out", shape=(1, 2), copy_of="s1.in"),  # two slots of one source
            StateSpec(input="lone.in", output="lone.out", shape=(1, 2)),
            StateSpec(input="t.in", output="t.out", shape=(1,), dtype="int64"),
        )
        rotation = Rotation(plan(twins, "test"))
        for n in range(40):
            reads, writes = [id(b) for b in rotation.inputs.values()], [id(b) for b in rotation.outputs.values()]
            assert not set(reads) & set(writes), n
            assert len(set(writes)) == 3
            for buffer in rotation.outputs.values():
                buffer[:] = n
            rotation.advance()
            held = [int(rotation.inputs[f"s{k}.in"].flat[0]) for k in range(4)]
            assert held == [max(n - k, 0) for k in range(4)]
            assert int(rotation.inputs["twin.in"].flat[0]) == max(n - 2, 0)
            assert int(rotation.inputs["t.in"][0]) == n

    def test_the_identities_are_cut_out_and_the_file_is_left_alone(self, tmp_path: Path) -> None:
        handmade.conv_step(tmp_path / "net.onnx", form="slots", taps=4)
        whole = job(tmp_path / "net.onnx")
        lean = without_copies(whole.model, whole.states)
        assert [o.name for o in whole.model.graph.output] == [
            "logits",
            "state.x.0.out",
            "state.x.1.out",
            "state.x.2.out",
        ]
        assert [o.name for o in lean.graph.output] == ["logits", "state.x.0.out"]
        assert len(whole.model.graph.node) - len(lean.graph.node) == 2

    def test_a_copy_of_nothing_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"repeats one that is not there(.|\n)*s0.in(.|\n)*no such state"):
            plan(self.SLOTS[1:], "net.onnx")

    def test_a_copy_of_another_shape_is_refused(self) -> None:
        bad = (self.SLOTS[0], self.SLOTS[1].model_copy(update={"shape": (3, 3)}))
        with pytest.raises(ModelError, match=r"another shape"):
            plan(bad, "net.onnx")

    def test_two_states_on_one_input_are_refused(self) -> None:
        with pytest.raises(ModelError, match="share an input"):
            plan((self.SLOTS[0], self.SLOTS[0]), "net.onnx")

    def test_no_states_at_all(self) -> None:
        assert plan((), "clip.onnx") == StatePlan(())
