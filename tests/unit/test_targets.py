"""One table of targets: every verb, help text and page has its names, and a device as people call it leads to one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everyframe import api, bundles
from everyframe.bundles.make import check as check_bundle
from everyframe.cli.verbs import bundle, check, export, quantize
from everyframe.devices.profile import resolve
from everyframe.devices.profile import targets as profiles
from everyframe.errors import UsageError
from everyframe.quantization.conventions import TARGETS, convention
from everyframe.targets import ALIASES, TAKEN, taken_by

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = {"check": profiles(), "quantize": tuple(TARGETS), "bundle": tuple(bundles.TARGETS)}
#: how a verb takes a target
TAKE = {
    "check": lambda name: resolve([name]),
    "quantize": convention,
    "bundle": lambda name: check_bundle(Path("no folder"), name),
}


@pytest.mark.parametrize("verb", ROWS)
def test_the_table_is_that_of_every_verb(verb: str) -> None:
    assert set(taken_by(verb)) == set(ROWS[verb])


@pytest.mark.parametrize(("command", "verb"), [(check, "check"), (quantize, "quantize"), (bundle, "bundle"), (export, "bundle")])
def test_help_texts_list_them(command: object, verb: str) -> None:
    (said,) = (str(hint) for name, hint in command.command.__annotations__.items() if name == "target")  # type: ignore[attr-defined]
    assert "listed(" in said and f"'{verb}'" in said.replace('"', "'")


@pytest.mark.parametrize("verb", ROWS)
def test_pages_and_docstrings_list_them(verb: str) -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (DOCS / f"{verb}.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) >= set(ROWS[verb])
    told = getattr(api, verb).__doc__
    assert "targets()" in told or all(name in told for name in ROWS[verb])


@pytest.mark.parametrize(
    ("verb", "name", "wanted"),
    [
        ("check", "jetson", "tensorrt"), ("check", "Jetson Orin Nano", "tensorrt"), ("check", "android", "litert"),
        ("check", "iphone15", "ncnn"), ("check", "raspberry", "ncnn"), ("check", "Raspberry Pi 5", "native"),
        ("check", "raspberrypi4", "native"), ("check", "rdk", "rdk-x5"), ("check", "RDK X5", "for RDK X5: --target rdk-x5"),
        ("check", "intel-nuc", "openvino"), ("check", "kria", "vitis-dpu"), ("check", "hailo8", "none for hailo8 yet"),
        ("check", "coral", "none for coral yet"), ("check", "tensort", "did you mean tensorrt"), ("check", "cpu", "native"),
        ("quantize", "jetson", "tensorrt"), ("quantize", "Raspberry Pi 5", "cpu"), ("quantize", "onnxruntime", "cpu"),
        ("quantize", "native", "cpu"), ("quantize", "openvino", "cpu"), ("quantize", "kria", "vitis-dpu"),
        ("quantize", "rdk-x5", "`check` and `bundle`"), ("quantize", "ncnn", "`check` and `bundle`"),
        ("quantize", "hailo8", "none for hailo8 yet"), ("quantize", "cpus", "did you mean cpu"),
        ("bundle", "jetson", "none for jetson"), ("bundle", "tensorrt", "`check` and `quantize`"),
        ("bundle", "android", "litert"), ("bundle", "cpu", "onnxruntime"), ("bundle", "native", "onnxruntime"),
        ("bundle", "iphone", "ncnn"),
    ],
)  # fmt: skip
def test_a_device_as_people_call_it_leads_to_a_target(verb: str, name: str, wanted: str) -> None:
    with pytest.raises(UsageError) as raised:
        TAKE[verb](name)
    assert wanted in (raised.value.hint or "").replace("everyframe ", "")


def test_aliases_name_targets_that_exist() -> None:
    assert {target for found in ALIASES.values() for target in found} <= set(TAKEN)
    assert not {name for name in set(ALIASES) & set(TAKEN) if name not in ALIASES[name]}
