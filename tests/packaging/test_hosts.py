"""The Dockerfile and the public host's workflow, read: what they copy, run and name exists, and says what pyproject.toml says."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

from lock import ROOT

from command_line import problem

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def instructions(text: str) -> Iterator[tuple[str, list[str]]]:
    """(COPY, its words), ... of a Dockerfile: continued lines joined, comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\s*\\\n\s*", " ", lines).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, rest.split() if rest.startswith("[") else shlex.split(rest)


def copied(text: str) -> list[str]:
    """What the build's folder has to hold."""
    copies = [words for name, words in instructions(text) if name == "COPY" and not words[0].startswith("--from")]
    return [source for words in copies for source in words[:-1]]


def missing(text: str, ignored: str, root: Path = ROOT) -> list[str]:
    """What a Dockerfile copies and the build would not find: not there, or kept back by .dockerignore."""
    let_in = [line[1:] for line in ignored.splitlines() if line.startswith("!")]
    all_others_are_kept = "*" in ignored.splitlines()
    return [
        name for name in copied(text)
        if not (root / name).exists() or (all_others_are_kept and not any(fnmatch.fnmatch(name, each) for each in let_in))
    ]  # fmt: skip


def commands() -> list[str]:
    """The shell lines of the workflow, folded ones joined."""
    found = []
    for block in re.findall(r"^ +(?:- )?run: (?:([^|>\n].*)|[|>]-?\n((?:(?: {10,}.*)?\n)+))", WORKFLOW, re.MULTILINE):
        found += [block[0]] if block[0] else [line.strip() for line in block[1].splitlines() if line.strip()]
    return found


class TestTheImage:
    def test_what_it_copies_is_there_and_let_in(self) -> None:
        assert missing(DOCKERFILE, (ROOT / ".dockerignore").read_text()) == []

    def test_what_the_package_is_built_from_is_copied(self) -> None:
        needed = {"pyproject.toml", "src", "requirements.lock", PROJECT["readme"], *PROJECT["license-files"]}
        assert needed <= {name.removeprefix("./") for name in copied(DOCKERFILE)}

    def test_it_is_the_base_and_nobody_is_root(self) -> None:
        steps = list(instructions(DOCKERFILE))
        last = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
        final = steps[last:]
        (user,) = [words for name, words in final if name == "USER"]
        assert user == ["1000:1000"]
        assert "--uid 1000" in DOCKERFILE
        assert ("ENTRYPOINT", ['["everyframe"]']) in final
        assert "[train" not in DOCKERFILE
        assert "everyframe" in PROJECT["scripts"]

    def test_its_python_is_one_that_is_supported(self) -> None:
        named = set(re.findall(r"^FROM python:([0-9.]+)-slim", DOCKERFILE, re.MULTILINE))
        assert len(named) == 1
        assert named <= supported()

    def test_finds_what_is_missing(self) -> None:
        """Planted: a file that is nowhere, and one that .dockerignore keeps back."""
        assert missing("FROM a\nCOPY pyproject.toml \\\n  nowhere ./\n", "*\n!pyproject.toml") == ["nowhere"]
        assert missing("COPY src /src\nCOPY --from=build /a /a\n", "*\n!pyproject.toml") == ["src"]


def supported() -> set[str]:
    named = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"])
    return {match[1] for match in named if match}


class TestTheWorkflow:
    def test_it_runs_every_python_that_is_supported(self) -> None:
        rows = re.findall(r"python: \[(.*)\]", WORKFLOW)
        assert rows
        assert all(set(re.findall(r"[0-9.]+", row)) == supported() for row in rows)
        assert PROJECT["requires-python"] == f">={min(supported(), key=lambda v: tuple(map(int, v.split('.'))))}"

    def test_it_runs_on_every_system_that_is_supported(self) -> None:
        assert re.search(r"system: \[ubuntu-latest, macos-latest\]", WORKFLOW)
        assert {"Operating System :: POSIX :: Linux", "Operating System :: MacOS"} <= set(PROJECT["classifiers"])

    def test_what_it_runs_is_there(self) -> None:
        lines = commands()
        assert ".ci/run" in lines
        words = [word for line in lines for word in line.split()]
        paths = [word for word in words if word.startswith(("tests/", ".ci/"))]
        assert paths
        assert [path for path in paths if not (ROOT / path).exists()] == []
        assert {line.split()[1] for line in lines if line.startswith("make ")} <= TARGETS
        assert {line: why for line in lines if line.startswith("everyframe ") and (why := problem(line))} == {}

    def test_the_sentence_it_looks_for_is_the_one_that_is_said(self) -> None:
        sentence = re.search(r'grep "(.*)" said', WORKFLOW)
        assert sentence
        assert sentence[1] in (ROOT / "src" / "everyframe" / "__init__.py").read_text()
