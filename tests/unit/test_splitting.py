"""Step models in parts: the pipeline says what the whole model says, wherever it is cut and however the parts are run."""

from __future__ import annotations

import gc
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handmade
from everyframe import modelfile
from everyframe.cli import main
from everyframe.conversion import convert
from everyframe.errors import EngineError, ModelError, OutputError, UsageError
from everyframe.modelfile import manifest, saturation
from everyframe.runtime import BUILTIN, Program
from everyframe.runtime.pipeline import OverlappedRun, PipelineSession, SerialRun
from everyframe.runtime.states import plan, without_copies
from everyframe.splitting import balance, cut, label
from everyframe.splitting.label import Flow
from laws.heads import Head
from laws.nets import Net, nets, picture_step

STEPS = 7


def whole(model: onnx.ModelProto, frames: list[np.ndarray]) -> list[np.ndarray]:
    """What the uncut model says, node by node, fed by hand."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    held = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in metadata.states}
    answers = []
    for each in frames:
        logits, *new = session.run(["logits", *(spec.output for spec in metadata.states)], {"frames": each, **held})
        held = {spec.input: value for spec, value in zip(metadata.states, new, strict=True)}
        answers.append(logits)
    return answers


def noise(flow: Flow, steps: int = STEPS) -> list[np.ndarray]:
    (port,) = [port for port in flow.inputs() if port.name == "frames"]
    rng = np.random.default_rng(0)
    return [rng.standard_normal(port.shape, np.float32) for _ in range(steps)]


def overlapped(run: OverlappedRun, frames: list[np.ndarray]) -> list[np.ndarray]:
    answers = []
    for each in frames:
        run.submit(each)
        if run.under_way > run.depth:
            answers.append(run.result())
    return answers + [run.result() for _ in range(run.under_way)]


def same(got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def agree(flow: Flow, labels: list[label.Label]) -> cut.Cut:
    """Node by node, in every bit: the whole, its parts in turn, its parts at the same time."""
    for i in range(len(labels)):
        assert all(labels[j] <= labels[i] for j in flow.before(i)), "nothing is read before it is made"
    made = cut.cut(flow, labels)
    manifest.check_flow(made.manifest, Path("made.json"))
    frames = noise(flow)
    wanted = whole(flow.model, frames)
    network = PipelineSession(made.manifest, made.models, threads=1, optimize=False)
    run, beside = SerialRun(network), OverlappedRun(network)
    same([run.step(each) for each in frames], wanted)
    same(overlapped(beside, frames), wanted)
    run.reset(), beside.reset()
    same([run.step(each) for each in frames], wanted)
    same(overlapped(beside, frames[:3]), wanted[:3])
    return made


def test_a_network_that_computes_nothing() -> None:
    made = picture_step(Net(T=1, c=2, size=4, layers=(), head=Head("none", 0)), Counter())
    assert made is not None
    flow = Flow(made.step, made.metadata)
    agree(flow, label.at_states(flow))


def test_random_networks_cut_anywhere() -> None:
    tally: Counter[str] = Counter()

    @settings(max_examples=40)
    @given(nets(rate="native"), st.data())
    def run(net: Net, data: st.DataObject) -> None:
        made = picture_step(net, tally)
        if made is None:
            return
        flow = Flow(made.step, made.metadata)
        agree(flow, label.at_states(flow))
        places = st.lists(st.integers(1, len(flow.nodes)), max_size=3, unique=True)
        agree(flow, label.in_order(flow, sorted(data.draw(places))))
        names = [node.output[0] for node in flow.nodes]
        agree(flow, label.behind(flow, data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))))
        tally["compared"] += 1

    run()
    assert tally["compared"] >= 15, tally


@pytest.mark.parametrize("options", [
    {"form": "ring"}, {"form": "slots", "counter": True}, {"form": "ring", "hop": 5, "taps": 2, "counter": True},
    {"form": "slots", "taps": 6, "fill": -3.0},
])  # fmt: skip
def test_every_form_of_state(options: dict[str, Any], tmp_path: Path) -> None:
    handmade.conv_step(tmp_path / "net.onnx", **options)
    model = modelfile.load(tmp_path / "net.onnx")
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    flow = Flow(model, metadata)
    agree(flow, label.at_states(flow))
    for i in range(1, len(flow.nodes)):
        agree(flow, label.in_order(flow, [i]))


def test_states_that_the_host_moves(tmp_path: Path) -> None:
    """A model without the outputs that only repeat a state, in parts that have them."""
    states = plan(modelfile.metadata_of(modelfile.load(BUILTIN)).states, BUILTIN)  # type: ignore[union-attr]
    modelfile.save(without_copies(modelfile.load(BUILTIN), states), tmp_path / "lean.onnx")
    flow = cut.open_step(tmp_path / "lean.onnx")
    same(whole(flow.model, noise(flow)), whole(modelfile.load(BUILTIN), noise(flow)))
    agree(flow, label.at_states(flow))


# The kernels of TSM's published split for an FPGA, by their code: (channels, size) of the input and the output.
KERNELS = (
    ((3, 224), (24, 56)), ((24, 56), (32, 28)), ((32, 28), (32, 28)), ((32, 28), (64, 14)), ((64, 14), (64, 14)),
    ((64, 14), (64, 14)), ((64, 14), (96, 14)), ((96, 14), (96, 14)), ((96, 14), (160, 7)), ((160, 7), (160, 7)),
    ((160, 7), None),
)  # fmt: skip


def tsm(name: str, frames: int, size: int) -> Flow:
    pytest.importorskip("torch")
    from everyframe import models
    from helpers import quick_export, randomise

    net = randomise(models.create(name, num_classes=27, frames=frames, size=size), seed=1)
    made = convert(quick_export(net, frames, size))
    return Flow(made.step, made.metadata)


@pytest.mark.slow
def test_stages_of_tsm_are_those_of_its_fpga() -> None:
    """Eleven stages: the tensor, and the same with one part of its channels from the frame before."""
    made = cut.cut(flow := tsm("tsm_mobilenet_v2_online", 8, 224), label.at_states(flow))
    assert len(made.manifest.stages) == 11
    for n, (stage, (taken, gives)) in enumerate(zip(made.manifest.stages, KERNELS, strict=True)):
        shape = (1, taken[0], taken[1], taken[1])
        roles = {made.manifest.role(port): port.shape for port in stage.inputs}
        assert roles == ({"residual": shape, "shifted": shape} if n else {"frames": shape})
        (output,) = stage.outputs
        assert output.shape == ((1, gives[0], gives[1], gives[1]) if gives else (1, 27))


@pytest.mark.usefixtures("narrow_zoo")
@pytest.mark.slow
def test_tsm_resnet_has_seventeen_stages() -> None:
    made = agree(flow := tsm("tsm_resnet50", 8, 32), label.at_states(flow))
    assert len(made.manifest.stages) == 17


@pytest.mark.filterwarnings("ignore")
def test_integers_go_from_stage_to_stage(tmp_path: Path) -> None:
    """A quantized model in parts: the same scales on both sides of a cut, and the same answers where it computes in integers:
    of 7 bits, which every processor multiplies exactly.
    """
    pytest.importorskip("onnxruntime.quantization")
    from native.test_int8_zoo import quantized

    windows = [f"follow.2.reducemean::sum{which}" for which in ("", "#2")]  # no side is a constant that could have 7 bits
    model = quantized(modelfile.load(BUILTIN), tmp_path, per_channel=True, reduce_range=True, nodes_to_exclude=windows)
    assert not saturation.layers(model)
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    flow = Flow(model, metadata)
    made = agree(flow, label.at_states(flow))
    numbers = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for part, each in zip(made.manifest.parts, made.models, strict=True):
        if part.place == "stage":
            assert {port.dtype for port in part.inputs} == {"int8"}
        own = {t.name: onnx.numpy_helper.to_array(t) for t in each.graph.initializer}
        assert all(np.array_equal(value, numbers[name]) for name, value in own.items())
    frames = noise(flow, 20)
    session = PipelineSession(*_uncut(flow), threads=1)
    one, other = SerialRun(PipelineSession(made.manifest, made.models, threads=1)), SerialRun(session)
    same([one.step(each) for each in frames], [other.step(each) for each in frames])


def _uncut(flow: Flow) -> tuple[manifest.Manifest, list[onnx.ModelProto]]:
    made = cut.cut(flow, label.in_order(flow, []))
    assert len(made.models) == 1
    return made.manifest, made.models


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=30), st.integers(1, 30))
def test_every_stage_has_a_node(cost: list[float], stages: int) -> None:
    if stages > len(cost):
        return
    ends = [0, *balance.places(cost, stages), len(cost)]
    assert len(ends) == stages + 1
    assert all(a < b for a, b in itertools.pairwise(ends))


def test_stages_by_time(tmp_path: Path) -> None:
    flow = cut.open_step(BUILTIN)
    labels = balance.even(flow, 3, BUILTIN)
    made = agree(flow, labels)
    assert len(made.manifest.stages) == len(made.manifest.parts) == 3


class Folder:
    """The built-in model in parts."""

    def __init__(self, place: Path) -> None:
        self.place = place
        flow = cut.open_step(BUILTIN)
        cut.write(cut.cut(flow, label.at_states(flow)), place)
        self.manifest = json.loads((place / manifest.NAME).read_text())

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        change(self.manifest)
        (self.place / manifest.NAME).write_text(json.dumps(self.manifest))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "split")


def _first_state(found: dict[str, Any]) -> dict[str, Any]:
    return found["metadata"]["states"][0]


SPOILT: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another version": (lambda m: m.update(format=2), "made by a newer everyframe"),
    "an unknown key": (lambda m: m.update(extra=1), "key extra"),
    "a foreign kind": (lambda m: m.update(kind="recipe"), "key kind"),
    "no parts": (lambda m: m.update(parts=[]), "key parts"),
    "a path": (lambda m: m["parts"][0].update(file="../host_00.onnx"), "key parts.0.file"),
    "a lost part": (lambda m: m["parts"].pop(1), "made nowhere before"),
    "parts in disorder": (lambda m: m["parts"].reverse(), "made nowhere before"),
    "a part twice": (lambda m: m["parts"].append(m["parts"][1]), "made twice"),
    "another shape": (lambda m: m["parts"][1]["inputs"][0].update(shape=[1, 2, 3]), "tensor"),
    "a state that nothing makes": (lambda m: _first_state(m).update(output="lost"), "no part makes it"),
    "another model's part": (lambda m: m["parts"][1].update(sha256="0" * 64), "not the one that the manifest names"),
    "a missing file": (lambda m: m["parts"][0].update(file="host_99.onnx"), "no such model file"),
}


@pytest.mark.parametrize("name", list(SPOILT))
def test_a_spoilt_manifest_is_refused(name: str, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = SPOILT[name]
    folder.change(lambda found: change(found))  # type: ignore[arg-type,return-value]
    with pytest.raises(ModelError, match=words):
        Program(folder.place)
    with pytest.raises(SystemExit) as ended:
        main.run(["info", str(folder.place)])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "not valid"), (b"\xff\xfe", "cannot be read"), (None, "a folder, not a model file")]
)
def test_what_is_no_manifest(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / manifest.NAME).write_bytes(content)
    with pytest.raises(ModelError, match=words):
        Program(tmp_path)


def test_an_altered_part_is_refused(folder: Folder) -> None:
    part = folder.place / "stage_00.onnx"
    model = modelfile.load(part)
    model.producer_name = "somebody else"
    onnx.save(model, part)
    with pytest.raises(ModelError, match=r"not the one(.|\n)*stage_00"):
        Program(folder.place)


def test_one_stage_alone_predicts_nothing(folder: Folder) -> None:
    with pytest.raises(ModelError, match="one stage of a split model"):
        Program(folder.place / "stage_00.onnx")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputError, match="not empty"):
        cut.check_output(tmp_path)


def test_a_folder_is_written_again(folder: Folder) -> None:
    """Parts of the first split that the second does not have are gone; what else lies there stays."""
    (folder.place / "notes.txt").write_text("mine")
    flow = cut.open_step(BUILTIN)
    cut.write(cut.cut(flow, label.in_order(flow, [9])), folder.place)
    assert {file.name for file in folder.place.iterdir()} == {manifest.NAME, "stage_00.onnx", "stage_01.onnx", "notes.txt"}
    Program(folder.place)


def test_only_step_models_and_named_nodes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Only a step model(.|\n)*clip"):
        cut.open_step(handmade.brightness_clip(tmp_path / "clip.onnx"))
    flow = cut.open_step(BUILTIN)
    with pytest.raises(UsageError, match=r"no such node(.|\n)*look"):
        label.behind(flow, ["look.7.con"])
    with pytest.raises(UsageError, match="more stages than nodes"):
        balance.even(flow, 10_000, BUILTIN)


def test_what_goes_wrong_in_a_stage_comes_out(folder: Folder) -> None:
    """And ends all threads; a stream that is let go ends them too."""
    before = threading.active_count()
    found = manifest.read(folder.place)
    network = PipelineSession(found, manifest.read_parts(folder.place, found), overlap=True)
    run = OverlappedRun(network)
    run.submit(np.zeros((1, 1, 2, 2), np.float32))
    for _ in range(2):
        with pytest.raises(EngineError, match="failed to run"):
            run.result()
    run.reset()
    run.step(np.zeros(found.frames.shape, np.float32))
    del run
    other = OverlappedRun(network)
    other.step(np.zeros(found.frames.shape, np.float32))
    del other
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        gc.collect()  # the error's traceback knew the stream; does nothing while another thread collects
        time.sleep(0.01)
    assert threading.active_count() == before
