"""The table of official checkpoints."""

from __future__ import annotations

import re

import pytest

from everyframe import models
from everyframe.errors import UsageError
from everyframe.models.checkpoints import published as table
from everyframe.models.checkpoints.fetch import Published, find, published, read_published_labels

TABLE = table.table()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.network}-{row.tag}")
def test_a_row_of_the_table(row: Published) -> None:
    assert row.network in models.list()
    assert re.fullmatch(r"[a-z0-9_]+(-[a-z0-9]+)*", row.tag)
    assert (row.url is None) == row.manual == (row.page is not None) == (row.file is not None)
    for url in filter(None, (row.url, row.page, row.source)):
        assert url.startswith("https://")
    assert row.license and row.source
    assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.sha256_prefix is None or re.fullmatch("[0-9a-f]{8,63}", row.sha256_prefix)
    named = re.search(r"-([0-9a-f]{8})\.pth$", row.url or "")
    if named:  # torchvision and MMAction2 put the beginning of the hash into the name
        assert (row.sha256 or row.sha256_prefix or "").startswith(named[1])
    names = row.label_names()
    assert names is None or len(names) == row.num_classes
    entry = models.describe(row.network)
    pre = row.preprocessing(entry.preprocess)
    assert pre.channels == 3 and {key: getattr(pre, key) for key in row.preprocess} == row.preprocess
    assert row.frames is None or row.frames != entry.frames, "only what differs from the network's entry"
    assert 0 < (row.top1 or 1) < (row.top5 or 100) <= 100
    assert (row.top1 is None) == (row.protocol is None), "an accuracy has its protocol"


def test_no_two_rows_are_the_same() -> None:
    assert len({(row.network, row.tag) for row in TABLE}) == len(TABLE)
    assert len({row.name for row in TABLE}) == len(TABLE)
    fetched = [row.url for row in TABLE if row.url]
    assert len(set(fetched)) == len(fetched)


def test_every_network_with_a_reference_project_has_weights() -> None:
    without = {"c3d_bn", "shufflenet3d_v2_0.5x"}  # their projects released none
    ours = {name for name in models.list() if models.describe(name).source == "everyframe"}
    assert set(models.list()) - {row.network for row in TABLE} == without | ours


def test_color_order_follows_the_data_set() -> None:
    for row in TABLE:
        if row.project == "efficient-3dcnns":
            color = row.preprocessing(models.describe(row.network).preprocess).color
            assert color == ("bgr" if row.tag == "kinetics600" else "rgb")


def test_find() -> None:
    row = find("r3d_18", "kinetics400")
    assert row.name.startswith("r3d_18-kinetics400-") and row.name.endswith(".pth")
    assert find("tsm_mobilenet_v2_online", "jester").name.endswith(".pth.tar")
    assert [row.tag for row in published("x3d_s")] == ["kinetics400", "kinetics400-pyslowfast"]
    assert published("c3d_bn") == []
    with pytest.raises(UsageError, match="kinetics400 or kinetics400-pyslowfast"):
        find("x3d_s", "imagenet")
    with pytest.raises(UsageError, match="No published weights of c3d_bn"):
        find("c3d_bn", "kinetics600")
    with pytest.raises(UsageError, match="no network of this name"):
        find("x3d_sss", "kinetics400")


def test_label_lists() -> None:
    sizes = {"kinetics400": 400, "kinetics600": 600, "jester": 27, "ucf101": 101, "hmdb51": 51, "something_v1": 174}
    assert {name: len(read_published_labels(name)) for name in sizes} == sizes
    for name in sizes:
        assert list(read_published_labels(name)) == sorted(read_published_labels(name), key=str.casefold)
    # class numbers that others print: a list that slipped by a line would not agree
    numbers = {"archery": 5, "sharpening knives": 290, "playing flute": 231, "washing feet": 380, "zumba": 399}
    assert {name: read_published_labels("kinetics400").index(name) for name in numbers} == numbers
    assert read_published_labels("jester")[2] == "No gesture"
    with pytest.raises(UsageError, match="kinetics400"):
        read_published_labels("../labels/jester")
