"""`make lock`: asks pip what the project and all its extras resolve to, and prints that as requirements.lock.

    python tests/packaging/lock.py [--keep NAME==VERSION ...] > requirements.lock

Nothing is installed. A local version (1.2.3+cpu) is written without its suffix, so that every index can serve the pin.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: what building the package needs beside hatchling, which is in the dev extra
BUILD = ("editables>=0.5",)

HEADER = """\
# Exact versions of everything the project installs, for Python 3.11 and newer: base, all extras, build.
# Used as constraints: pip install -c requirements.lock -e '.[train,cross,openvino,serve,dev]'
# Made by `make lock`; change pyproject.toml, not this file.
"""


def extras() -> list[str]:
    return sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("optional-dependencies", {}))


def resolve(keep: list[str]) -> dict[str, str]:
    """Name -> version of all that pip would install into an empty environment."""
    wanted = [f"{ROOT}[{','.join(extras())}]", *BUILD, *keep]
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run([*pip, *wanted], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip could not resolve {wanted}")
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    return {normal(each["name"]): each["version"].partition("+")[0] for each in found if each["name"] != "everyframe"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path: Path = ROOT / "requirements.lock") -> dict[str, str]:
    """The pins of a lock file: name -> version."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def main(arguments: list[str]) -> None:
    keep = [each for each in arguments if each != "--keep"]
    pins = resolve(keep)
    print(HEADER + "\n".join(f"{name}=={version}" for name, version in sorted(pins.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
