"""`make docs`: writes what is derived from the code: docs/cli.md, the tables of docs/zoo.md, CONTRIBUTING.md's import map."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import zoo_tables  # noqa: E402

import layout  # noqa: E402
from command_line import environment  # noqa: E402
from everyframe.cli.main import VERBS  # noqa: E402

CLI = ROOT / "docs" / "cli.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"

HEADER = """\
# Command line

<!-- made by `make docs` from `everyframe VERB --help`: change the help texts, not this page -->

Results go to standard output, everything else to standard error. Exit codes: 0 success, 1 a defect of everyframe (with
a traceback), 2 something about the input or the arguments (with a message that says what, where and what to do next),
130 interrupted with Ctrl-C.

Tab completes verbs, options and files after `everyframe --install-completion` (bash, zsh and fish; it writes to your shell's
settings) in shells that are opened from then on. `everyframe --show-completion` prints the script instead.
"""


def cli_reference() -> str:
    parts = [HEADER, *_section("everyframe", ["--help"])]
    for verb in VERBS:
        parts += _section(f"everyframe {verb}", [verb, "--help"])
    return "\n".join(parts)


def _section(title: str, arguments: list[str]) -> list[str]:
    program = Path(sys.executable).with_name("everyframe")
    done = subprocess.run([program, *arguments], env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{title} --help ended with {done.returncode}:\n{done.stderr}")
    text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    return [f"## {title}\n", f"```text\n{text}\n```\n"]


def contributing(text: str) -> str:
    """The page with the import map as it is now."""
    pattern = re.escape(layout.START) + ".*?" + re.escape(layout.END)
    return re.sub(pattern, lambda _: layout.import_map(), text, flags=re.DOTALL)


if __name__ == "__main__":
    CLI.parent.mkdir(exist_ok=True)
    CLI.write_text(cli_reference(), encoding="utf-8")
    CONTRIBUTING.write_text(contributing(CONTRIBUTING.read_text(encoding="utf-8")), encoding="utf-8")
    zoo_tables.PAGE.write_text(zoo_tables.page(zoo_tables.PAGE.read_text(encoding="utf-8")), encoding="utf-8")
