"""Ranges for INT8: values in histograms, streams that begin anew with each video, videos that are too short or too different."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import everyframe
import handmade
from everyframe.errors import SourceError
from everyframe.modelfile.file import attach, load, save
from everyframe.modelfile.schema import Metadata, Preprocess
from everyframe.modelfile.session import session
from everyframe.quantization.calibrate import HUGE, METHODS, Calibration, Values, calibrate
from everyframe.quantization.quantize import opened, quantize
from everyframe.quantization.structure import Structure, structure
from everyframe.quantization.videos import Model, chosen
from everyframe.video.sources import Source
from quantizing import LENGTHS, Given, given_model, noise, write_folder

floats = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("quantize"))


# -- values and ranges -------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(floats, min_size=1, max_size=50), min_size=1, max_size=6), st.integers(0, 5))
@example([[1.0], [2.0]], 0)  # as large as a bin ends
@example([[-1.0, 0.99951166], [3.0]], 1)  # less than a bin's end by less than a larger sum holds
def test_values_in_any_order_and_any_parts_are_the_same(parts: list[list[float]], cut: int) -> None:
    """The histogram's bins double in width as larger values come; what was counted stays in the bin that now holds it."""
    arrays = [np.array(part, np.float32) for part in parts]
    whole, one, two = (Values(counted=True) for _ in range(3))
    whole.add(np.concatenate(arrays))
    for i, array in enumerate(arrays):
        (one if i < cut else two).add(array)
    one.join(two)
    flat = np.concatenate(arrays)
    for values in (whole, one):
        assert (values.low, values.high) == (flat.min(), flat.max())
        assert values.counts is not None and values.counts.sum() == flat.size
        assert not values.reach or values.reach / 2 < np.abs(flat).max() * 1.0001 or values.reach == whole.reach
    assert one.reach == whole.reach
    assert np.array_equal(one.counts, whole.counts)


@given(st.lists(floats, min_size=1, max_size=400), st.sampled_from(list(METHODS)), st.floats(51, 100))
def test_a_range_lies_within_the_extremes(numbers: list[float], method: str, percentile: float) -> None:
    values = Values(counted=True)
    values.add(np.array(numbers, np.float32))
    low, high = METHODS[method](values, percentile)
    assert values.low <= low and high <= values.high


def test_a_percentile_is_that_of_numpy() -> None:
    x = np.random.default_rng(0).standard_normal(200_000, np.float32)
    values = Values(counted=True)
    for part in np.array_split(x, 7):
        values.add(part)
    low, high = values.percentile(99.0)
    bin_width = 2 * values.reach / 4096
    assert abs(low - np.percentile(x, 0.5)) <= 2 * bin_width and abs(high - np.percentile(x, 99.5)) <= 2 * bin_width


def test_outliers_do_not_move_the_entropys_cut_far() -> None:
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    values = Values(counted=True)
    values.add(np.append(x, np.float32(40)))
    low, high = values.entropy(99.99)
    assert 2.5 < high < 12 and low == max(values.low, -high)


def test_fills_and_what_is_no_number_are_no_values() -> None:
    values = Values(counted=True)
    values.add(np.array([1, -2, np.finfo(np.float32).min, np.inf, np.nan, -np.inf], np.float32))
    values.add(np.full(3, -HUGE * 10, np.float32))
    assert (values.low, values.high) == (-2, 1) and values.counts is not None and values.counts.sum() == 2


def brute_force(model: Model, sources: Sequence[Source], reset: bool = True) -> dict[str, tuple[float, float]]:
    """Every tensor's extremes, by running the unoptimized graph step by step with states carried by hand."""
    found: dict[str, list[float]] = {}
    states, probe = model.metadata.states, onnx.ModelProto()
    probe.CopyFrom(model.model)
    present = {value.name for value in probe.graph.output}
    names = [x for node in probe.graph.node for x in node.output]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    runner = session(probe, optimize=False)
    held: dict[str, np.ndarray] = {}
    for source in sources:
        if reset or not held:
            held = {s.input: np.full(s.shape, s.fill, s.dtype) for s in states}
        for _, frames in model.inputs([source]):
            feeds = {model.interface.frames: frames, **held}
            out = feeds | dict(zip(names, runner.run(names, feeds), strict=True))
            held = {s.input: out[s.output] for s in states}
            for name, x in out.items():
                found.setdefault(name, []).extend([float(x.min()), float(x.max())])
    return {name: (min(values), max(values)) for name, values in found.items()}


def test_ranges_are_those_of_a_stream_that_begins_anew_with_each_video(folder: Path) -> None:
    model = opened(folder / "step.onnx")
    parts = structure(model.model, model.metadata, model.interface.frames)
    sources = chosen(folder / "videos")
    found = calibrate(model, parts, sources)
    wanted, carried = brute_force(model, sources), brute_force(model, sources, reset=False)
    assert found.steps == sum(LENGTHS)
    for name, values in found.values.items():
        np.testing.assert_allclose((values.low, values.high), wanted[name], rtol=1e-5, atol=1e-6, err_msg=name)
    differs = [name for name in found.values if not np.allclose(wanted[name], carried[name], rtol=1e-4)]
    assert differs, "on these videos states that are not reset would be seen"
    for group, limits in found.ranges.items():  # of a group: all that is kept under its scale
        for name in (x for x, g in parts.share.items() if g == group and x in found.values):
            assert limits[0] <= wanted[name][0] + 1e-6 and limits[1] >= wanted[name][1] - 1e-6


def test_every_frame_is_run_even_where_few_are_measured(folder: Path) -> None:
    model = opened(folder / "step.onnx")
    parts = structure(model.model, model.metadata, model.interface.frames)
    found = calibrate(model, parts, chosen(folder / "videos"), every=10)
    assert found.steps == sum(-(-n // 10) for n in LENGTHS) and found.frames == sum(LENGTHS)


@given(st.integers(1, 300), st.integers(1, 100))
def test_videos_are_spread_evenly(count: int, most: int) -> None:
    """As many from the first half as from the second."""
    found = chosen_of(count, most)
    assert len(found) == min(count, most) == len(set(found))
    halves = [sum(n < count / 2 for n in found), sum(n >= count / 2 for n in found)]
    assert abs(halves[0] - halves[1]) <= 1


def chosen_of(count: int, most: int) -> list[int]:
    from unittest.mock import patch

    sources = [Source("file", str(i), (str(i),)) for i in range(count)]
    with patch("everyframe.quantization.videos.resolve", lambda where: sources):
        return [int(source.name) for source in chosen("anywhere", most)]


# -- what is warned of --------------------------------------------------------------------------------------------------


def test_other_videos_than_those_of_the_calibration_are_warned_of(folder: Path, tmp_path: Path) -> None:
    """Dark and still to calibrate with, bright and moving to compare on."""
    dark = tmp_path / "dark"
    dark.mkdir()
    handmade.write_video(dark / "a.mp4", [handmade.picture(20 + i % 2) for i in range(15)], rate=10)
    found = quantize(folder / "step.onnx", dark, compare_with=folder / "videos", frames=40, min_similarity=0)
    said = "\n".join(found.warnings)
    assert "only 15 steps" in said and "of the brightness" in said and "outside the calibrated range" in said


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> tuple[Given, Structure]:
    """A network with a delay of 12 frames: Conv 25x1x1, ReLU, mean, Gemm."""
    folder, rng = tmp_path_factory.mktemp("late"), np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["clip", "mix.weight"], ["a"], "mix", kernel_shape=[25, 1, 1], pads=[12, 0, 0, 12, 0, 0]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("ReduceMean", ["b"], ["c"], "pool", axes=[2, 3, 4], keepdims=0),
        helper.make_node("Gemm", ["c", "fc.weight"], ["logits"], "fc"),
    ]
    constants = [
        handmade.tensor("mix.weight", rng.normal(size=(4, 3, 25, 1, 1), scale=0.1).astype(np.float32)),
        handmade.tensor("fc.weight", rng.normal(size=(4, 2)).astype(np.float32)),
    ]
    inputs = {"clip": (TensorProto.FLOAT, (1, 3, 16, 4, 4))}
    made = handmade.model(nodes, inputs, {"logits": (TensorProto.FLOAT, (1, 2))}, constants)
    save(attach(made, Metadata(kind="clip", frames=16, preprocess=Preprocess(resize=(4, 4)))), folder / "clip.onnx")
    everyframe.convert(folder / "clip.onnx", folder / "step.onnx")
    return given_model(load(folder / "step.onnx"))


@pytest.mark.parametrize(
    ("steps", "videos", "every", "settled"),
    [(15, 4, 1, 12), (23, 2, 1, 22), (24, 2, 1, None), (31, 1, 1, 19), (32, 1, 1, None), (15, 40, 5, 0), (60, 2, 2, None)],
)
def test_videos_hardly_longer_than_the_delay_are_warned_of(
    late: tuple[Given, Structure], steps: int, videos: int, every: int, settled: int | None
) -> None:
    """Fewer than 20 measured steps, or fewer than half of them, have 12 frames before them."""
    model, parts = late
    assert model.metadata.feature_delay == 12
    found = calibrate(model, parts, noise(model, steps, videos), every=every)
    said = [text for text in found.warnings if "delay of 12 frames" in text]
    assert [text.split()[1] for text in said] == ([str(settled)] if settled is not None else [])


def test_calibration_needs_nothing_but_counts(folder: Path) -> None:
    """What is kept does not grow with the video."""
    model = opened(folder / "step.onnx")
    parts = structure(model.model, model.metadata, model.interface.frames)
    found: Calibration = calibrate(model, parts, chosen(folder / "videos"), method="entropy")
    assert all(values.counts is not None and values.counts.nbytes == 4096 * 8 for values in found.values.values())


def test_videos_that_cannot_be_read_are_named_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    """Whatever is wrong with them, and wherever in the order they stand: the ranges are those of the others."""
    model = opened(folder / "step.onnx")
    parts = structure(model.model, model.metadata, model.interface.frames)
    good = calibrate(model, parts, chosen(folder / "videos"))
    for name, number in (("a.mp4", 0), ("1x.mp4", 1), ("z.mp4", 2)):
        (tmp_path / name).write_bytes(b"" if number else b"no video" * 100)
        if number == 1:
            known = handmade.write_video(tmp_path / name, 12, codec="libx264")
            known.write_bytes(known.read_bytes().replace(b"avc1", b"zzzz"))
    places = sorted((*tmp_path.iterdir(), *(folder / "videos").iterdir()), key=lambda path: path.name)
    found = calibrate(opened(folder / "step.onnx"), parts, chosen(places))
    assert (found.ranges, found.videos, found.frames) == (good.ranges, good.videos, good.frames)
    assert found.warnings[0].startswith("3 videos could not be read")
    assert all(path.name in found.warnings[0] for path in tmp_path.iterdir())
    with pytest.raises(SourceError):
        calibrate(opened(folder / "step.onnx"), parts, chosen(list(tmp_path.iterdir())))
