"""The documentation is executed: its commands run, its links lead somewhere, its reference is what `--help` prints.

Every `sh` and `python` block of a page runs, top to bottom, in one empty folder that holds `video.mp4`. A block that needs
a camera, minutes or the network is opened with ```sh no-run (or ```python no-run): its commands are still parsed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import generate
import pytest
import zoo_tables
from pages import ROOT, Block, Page, pages

import everyframe
import handmade
from command_line import environment, parsers, problem
from everyframe import models
from everyframe.native.target import target

PAGES = pages()
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
SAMPLE = ROOT / "src" / "everyframe" / "assets" / "sample.mp4"
BUILTIN = SAMPLE.with_name("motions.onnx")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LANGUAGES = {"", "c", "js", "json", "mermaid", "python", "sh", "text", "toml", "yaml"}
#: what some pages begin with
_EXPORT = re.compile(r"^everyframe export [\w.]+ -o ([\w.]+) --size \d+$", re.MULTILINE)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def names(page: Page) -> str:
    return page.name


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    if SAMPLE.exists():
        shutil.copy(SAMPLE, tmp_path / "video.mp4")
    else:
        handmade.write_video(tmp_path / "video.mp4", frames=60)
    return tmp_path


def once(text: str, shelf: Path) -> str:
    """A shell block that copies what the very same command has written for another page: torch takes most of ten seconds."""

    def kept_or_made(command: re.Match[str]) -> str:
        kept = shelf / re.sub(r"\W", "-", command[0])
        return f"cp {kept} {command[1]} 2>/dev/null || {{ {command[0]} && cp {command[1]} {kept}.$$ && mv {kept}.$$ {kept}; }}"

    return _EXPORT.sub(kept_or_made, text)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.runs for b in p.blocks)], ids=names)
def test_blocks_run(page: Page, sandbox: Path, shelf: Path) -> None:
    printed = ""
    for block in page.blocks:
        if wrong := not_as_shown(block, printed):
            pytest.fail(f"{block.place}: not what the command prints: {wrong}\n--- stdout\n{printed}")
        if not block.runs:
            continue
        program = ["bash", "-euo", "pipefail", "-c", once(block.text, shelf)]
        done = subprocess.run(
            program if block.language == "sh" else [sys.executable, "-c", block.text], cwd=sandbox, env=environment(),
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block.place}\n{block.text}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        printed = done.stdout


def not_as_shown(block: Block, printed: str) -> str:
    """What differs between a block ```text shown and what the commands before it printed; `shown TARGET`: on such a processor.

    Every line stands there, word for word. Numbers may be off by a fiftieth; errors, which are written with an exponent, by a
    factor of ten.
    """
    if block.words[:1] != ("shown",) or block.words[1:] not in ((), (target("native").name,)):
        return ""
    lines = [(_NUMBER.sub("#", line), _NUMBER.findall(line)) for line in printed.splitlines()]
    for line in block.text.splitlines():
        wanted = [float(number.replace(",", "")) for number in _NUMBER.findall(line)]
        found = [numbers for words, numbers in lines if words.split() == _NUMBER.sub("#", line).split()]
        if not any(all(map(_near, wanted, numbers)) for numbers in found):
            return line
    return ""


def _near(wanted: float, printed: str) -> bool:
    found = float(printed.replace(",", ""))
    return wanted / 10 <= found <= wanted * 10 if "e-" in printed else abs(found - wanted) <= 0.02 * abs(wanted)


@pytest.mark.slow
@pytest.mark.skipif(not BUILTIN.exists(), reason="the examples run with the built-in model, which is not there yet")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(path: Path, sandbox: Path) -> None:
    """Each takes MODEL SOURCE; its docstring begins with what it is for and shows the command."""
    assert re.search(rf"^    python examples/{path.name} \w+", path.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, path, "builtin", "video.mp4"], cwd=sandbox, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_blocks_are_of_known_languages(page: Page) -> None:
    unknown = [f"{b.place}: {b.language}" for b in page.blocks if b.language not in LANGUAGES]
    assert not unknown, f"shell blocks are `sh`; allowed: {sorted(LANGUAGES)}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_exist(page: Page) -> None:
    wrong = [f"{block.place}: {line}: {why}" for block in page.blocks for line, why in _problems(block)]
    assert not wrong, "\n".join(wrong)


def _problems(block: Block) -> list[tuple[str, str]]:
    found = []
    if block.language == "python":
        compile(block.text, block.place, "exec")
    elif block.language == "sh":
        for line in block.commands():
            if line.removeprefix(".venv/bin/").startswith("everyframe"):
                why = problem(line.removeprefix(".venv/bin/"))
            elif line.startswith("make"):
                words = shlex.split(line, comments=True)[1:]
                goals = [word for word in words if "=" not in word and not word.startswith("-")]
                why = f"no such target in the Makefile: {goals}" if not set(goals) <= TARGETS else None
            else:
                why = None
            if why:
                found.append((line, why))
    return found


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_stand_in_blocks_with_a_language(page: Page) -> None:
    """An indented one would be neither run nor parsed."""
    loose = re.findall(r"^    +(?:everyframe|pip|python|make|\.venv/bin/\w+) [^:]*$", page.prose, re.MULTILINE)
    assert not [line for line in loose if not re.search(r" {2,}\S", line.split("#")[0].strip())], loose


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=names)
def test_what_prose_names_exists(page: Page) -> None:
    """Options, commands and Python names between backquotes; a changelog may speak of what is gone."""
    codes = [code for code in re.findall(r"`([^`\n]+)`", page.prose) if not code.startswith(("python ", "pytest", "opt_in_out"))]
    known = {option for parser in parsers().values() for each in parser.params for option in (*each.opts, *each.secondary_opts)}
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    wrong = [
        f"{option} in `{code}`"
        for code in codes
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
        if option not in known
    ]
    for code in codes:
        verb = re.match(r"everyframe ([a-z]+)(?: |$)", code)
        if verb and verb[1] not in parsers():
            wrong.append(f"`{code}`: there is no such verb")
        called = re.match(r"(?:ef|everyframe)\.(\w+)\(", code)
        if called and not hasattr(everyframe, called[1]):
            wrong.append(f"`{code}`: there is no such function")
    assert not wrong, wrong


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Page) -> None:
    broken = []
    for link in page.links:
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.is_relative_to(ROOT) or not target.exists():
            broken.append(f"{link}: there is no such file")
        elif anchor and target.suffix == ".md" and anchor not in Page(target).anchors:
            broken.append(f"{link}: {target.name} has no such heading")
    assert not broken, "\n".join(broken)


def test_the_cli_reference_is_what_help_prints() -> None:
    assert generate.CLI.read_text(encoding="utf-8") == generate.cli_reference(), "run `make docs`"


def test_the_tables_of_the_zoo_are_what_was_measured() -> None:
    text = zoo_tables.PAGE.read_text(encoding="utf-8")
    assert text == zoo_tables.page(text), "run `make docs`"
    assert all(f"`{name}`" in text for name in models.list())


def test_extras_that_are_named_exist() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    files = [page.path for page in PAGES] + sorted((ROOT / "src").rglob("*.py"))
    wrong = [
        f"{path.relative_to(ROOT)}: everyframe[{named}]"
        for path in files
        for named in re.findall(
            r"(?:everyframe\[|(?<!\*)\.\[|install_extra\([\"'])([a-z, ]+)[\]\"']", path.read_text(encoding="utf-8")
        )
        if not set(re.split(r",\s*", named)) <= extras
    ]
    assert not wrong, "\n".join(wrong)


def test_the_readme_names_every_verb() -> None:
    from everyframe.cli.main import VERBS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [verb for verb in VERBS if not re.search(rf"\b{verb}\b", text)]
    assert not missing


class TestTheReadingOfPages:
    def test_an_export_runs_once(self, tmp_path: Path) -> None:
        stub = 'everyframe() { echo ran; echo "$*" > "$4"; }'
        for name, said in (("b", "ran\n"), ("b", ""), ("c", "ran\n")):
            line = f"export a_1.0x -o {name}.onnx --size 64"
            words = ["bash", "-euo", "pipefail", "-c", once(f"{stub}\neveryframe {line}\n", tmp_path)]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
            assert done.stdout == said
            assert (tmp_path / f"{name}.onnx").read_text() == f"{line}\n"

    def test_blocks_links_and_anchors(self) -> None:
        page = Page(ROOT / "page.md")
        text = "# One `two`: three\n[a](b.md#c) `[no](x)`\n```sh no-run\nmake \\\n  test # why\n\n# no\n```\n## A\n## A\n"
        page.__dict__["text"] = text
        (block,) = page.blocks
        assert (block.language, block.words, block.runs, block.line) == ("sh", ("no-run",), False, 4)
        assert list(block.commands()) == ["make test # why"]
        assert page.links == ["b.md#c"]
        assert page.anchors == {"one-two-three", "a", "a-1"}

    @pytest.mark.parametrize(
        ("printed", "same"),
        [
            ("a.so\n4.0 million, 100% off by 6.5e-07\n", True),
            ("4.05 million, 100% off by 9e-08", True),
            ("4.2 million, 100% off by 6.5e-07", False),
            ("4.0 million, 100% off by 6.5e-05", False),
            ("4.0 billion, 100% off by 6.5e-07", False),
            ("", False),
        ],
    )
    def test_what_is_shown_is_what_is_printed(self, printed: str, same: bool) -> None:
        shown = Block(ROOT / "page.md", 1, "text", ("shown",), "4.0 million,  100% off by 6.5e-07")
        assert (not_as_shown(shown, printed) == "") is same
        assert not not_as_shown(replace(shown, words=("shown", "no processor")), printed)

    def test_an_open_block_is_an_error(self) -> None:
        page = Page(ROOT / "page.md")
        page.__dict__["text"] = "```sh\nls\n"
        with pytest.raises(ValueError, match="no end"):
            _ = page.blocks

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("everyframe models | head -3  # three", None),
            ("everyframe models > list.txt", None),
            ("everyframe --help", None),
            ("everyframe", None),
            ("everyframe nonsense", "no verb"),
            ("everyframe models --nonsense", "No such option"),
            ("everyframe export", "issing argument"),
        ],
    )
    def test_commands_are_parsed_but_not_run(self, line: str, why: str | None) -> None:
        found = problem(line)
        assert (found is None) if why is None else (why in (found or "")), found
