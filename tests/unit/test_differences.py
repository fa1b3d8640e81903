"""Differences of large values: found where frames are subtracted, mended in float, and left alone elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from everyframe.modelfile.file import metadata_of
from everyframe.quantization.differences import Difference
from everyframe.quantization.quantize import Quantized, quantize
from quantizing import motion, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("differences"))


def quantized(folder: Path, path: Path, **options: object) -> Quantized:
    return quantize(path, folder / "videos", frames=80, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("minus", [True, False])
def test_a_difference_of_frames_is_kept_in_float(minus: bool, folder: Path, tmp_path: Path) -> None:
    net = motion(tmp_path / "net.onnx", minus=minus)
    found, plain = quantized(folder, net), quantized(folder, net, float_differences=False)
    (one,) = found.differences
    assert (one.name, one.behind, one.kept) == ("look::sum", "function", True)
    assert one.nodes == ("look::tap1", "look::tap0", "look::sum", "function")
    assert one.share > 0.3 and one.coarse > 4 and one.mended < 0.5 * one.error
    assert found.put_back == one.nodes
    rows = {row.name: row for row in found.comparison.layers}
    before = {row.name: row for row in plain.comparison.layers}
    assert {rows[name].precision for name in one.nodes} == {"float"} and rows["conv"].precision == "int"
    assert rows["function"].sqnr_db > before["function"].sqnr_db + 6, "at least a bit is gained where it is seen"
    assert found.comparison.answers.sqnr_db > plain.comparison.answers.sqnr_db + 2  # in integers it is rounded once


def test_it_is_said_and_can_be_left_to_the_user(folder: Path, tmp_path: Path) -> None:
    net = motion(tmp_path / "net.onnx")
    found, plain = quantized(folder, net), quantized(folder, net, float_differences=False)
    (said,) = [line for line in found.warnings if "difference of large values" in line]
    assert said.startswith("look::sum is") and "in float: look::tap1, look::tap0, look::sum, function" in said
    metadata = metadata_of(found.model)
    assert metadata is not None and "a difference of large values: look::tap1" in " ".join(metadata.provenance.notes)
    (warned,) = [line for line in plain.warnings if "difference of large values" in line]
    assert "better in float: look::tap1" in warned and plain.put_back == ()
    assert "in float" not in " ".join(metadata_of(plain.model).provenance.notes)  # type: ignore[union-attr]
    assert found.to_dict()["differences"][0]["kept"] is True and plain.to_dict()["differences"][0]["kept"] is False


@pytest.mark.parametrize("options", [{"still": False}, {"function": "Relu"}], ids=["a sum", "nothing that resolves it"])
def test_other_sums_stay_in_integers(options: dict[str, object], folder: Path, tmp_path: Path) -> None:
    """What does not cancel; and a difference that is read as coarsely as it was made."""
    found = quantized(folder, motion(tmp_path / "net.onnx", **options), min_similarity=0)  # type: ignore[arg-type]
    assert found.differences == () and found.put_back == ()


def test_networks_with_residuals_and_taps_stay_as_they_are(folder: Path) -> None:
    found = quantize(folder / "step.onnx", folder / "videos", frames=80)
    assert {"Add"} <= {layer.op.split("+")[0] for layer in found.structure.layers} and found.differences == ()


def test_what_the_user_kept_in_float_is_not_looked_at(folder: Path, tmp_path: Path) -> None:
    found = quantized(folder, motion(tmp_path / "net.onnx"), keep_float=["look::*", "function"])
    assert found.differences == ()


def test_the_sentence() -> None:
    one = Difference("sum", "tanh", ("a", "sum", "tanh"), 0.857, 13.4, 0.1, 0.01)
    assert str(one) == (
        "sum is a difference of large values: 86% of its values are smaller than the rounding error of its operands, and tanh "
        "would resolve them 13 times finer; better in float: a, sum, tanh"
    )
