"""requirements.lock pins everything that pyproject.toml asks for, with versions that it allows."""

from __future__ import annotations

import re
import tomllib

import lock
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = tomllib.loads((lock.ROOT / "pyproject.toml").read_text())
PINS = lock.read()
DIRECT = [
    *PROJECT["project"]["dependencies"],
    *(line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines),
    *PROJECT["build-system"]["requires"],
    *lock.BUILD,
]


@pytest.mark.parametrize("line", DIRECT)
def test_every_requirement_is_pinned_to_an_allowed_version(line: str) -> None:
    requirement = Requirement(line)
    pin = PINS.get(lock.normal(requirement.name))
    assert pin, "run `make lock`"
    assert requirement.specifier.contains(Version(pin), prereleases=True), f"{pin} is pinned: run `make lock`"


def test_the_lock_is_sorted_exact_and_portable() -> None:
    lines = [line for line in (lock.ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert list(PINS) == sorted(PINS)
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines), "a local version or an address"
