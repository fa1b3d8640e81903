"""Benchmarks name networks of the zoo: a list in which one is named holds nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from everyframe import models

FILES = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.py"))


def lists(path: Path) -> dict[str, list[str]]:
    """The constants of a file that are rows of words, by name."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple | ast.List | ast.Set):
            words = [each.value for each in node.value.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if words and len(words) == len(node.value.elts):
                found |= {target.id: words for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_networks_are_in_the_zoo(path: Path) -> None:
    zoo = {*models.list()}
    for name, words in lists(path).items():
        assert not zoo & {*words} or {*words} <= zoo, f"{name}: {sorted({*words} - zoo)}"


def test_lists_are_found() -> None:
    named = {(path.stem, name) for path in FILES for name in lists(path)}
    assert {("choices", "NETWORKS"), ("zoo_step", "ONE_A_FAMILY")} <= named
