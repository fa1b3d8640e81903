"""The tables of the papers, measured here: what `everyframe benchmark --table` prints, kept for docs/papers.

    python benchmarks/papers.py                                       all, hours on two cores; on a machine that does nothing else
    python benchmarks/papers.py co3d --networks x3d_s x3d_m           these networks alone; the others keep what they have
    python benchmarks/papers.py rt3d --frames 0                       no timing: what the networks' files say

Torch, continual-inference and ncnn run beside where they are installed, with --peers. Writes benchmarks/results/paper_NAME.json
after each network; `python benchmarks/run.py --tables` then writes the pages.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import networks

from everyframe.api import papers
from everyframe.benchmarking.outcome import Benchmark, read
from everyframe.benchmarking.papers import NAMES, Found, paper
from everyframe.files import write_bytes
from everyframe.peers import PEERS
from everyframe.runtime.engine import installed

PICTURES = networks.ROOT / "docs" / "papers"


def stored(name: str) -> Path:
    return networks.RESULTS / f"paper_{name}.json"


def found(name: str) -> Found:
    """What is stored, or what the zoo knows alone."""
    path = stored(name)
    have = read(path) if path.exists() else Benchmark({}, [], table=name)
    have.cards = papers.cards()  # they come with the package
    return Found(have)


def content(name: str) -> str:
    """The generated part of a paper's page."""
    have, chosen = found(name), paper(name)
    parts = [table.markdown() for table in chosen.shown(have)]
    parts += [f"**{what}**\n\n![{what}]({file}.png)" for file, (what, _) in chosen.pictures(have).items()]
    return "\n\n".join([*parts, *(f"*{line}*" for line in have.circumstances())])


def pictures(name: str) -> dict[Path, bytes]:
    return {PICTURES / f"{file}.png": png for file, (_, png) in paper(name).pictures(found(name)).items()}


def keep(name: str, new: Benchmark) -> None:
    """Adds what was measured to what is stored, network by network: a network that is measured anew replaces its rows."""
    path = stored(name)
    old = read(path) if path.exists() else None
    if old is not None:
        files = {row.model for row in new.rows}
        new.rows = [row for row in old.rows if row.model not in files] + new.rows
        new.stages = new.stages or old.stages
        new.costs = old.costs | new.costs
        new.machine = new.machine if files else old.machine
        new.notes = list(dict.fromkeys([*old.notes, *new.notes]))
    values = {**new.to_dict(), "cards": {}}
    lines = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    write_bytes(("{\n" + ",\n".join(lines) + "\n}\n").encode(), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--networks", nargs="+", default=[], help="of the paper's; default: all")
    parser.add_argument("--frames", type=int, default=10, help="clips or steps of each that count; 0: nothing is timed")
    parser.add_argument("--engines", nargs="+", default=list(installed()))
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=[], help="such as torch continual-inference")
    args = parser.parse_args()
    if unknown := set(args.names) - {*NAMES}:
        parser.error(f"no such paper: {', '.join(sorted(unknown))}")
    for name in args.names or NAMES:
        for network in papers.networks(name, args.networks):
            new = papers.measure(
                name, [network], args.engines, args.peers, args.frames, None, lambda text: print(text, flush=True)
            )
            keep(name, new)
            print(f"kept {name}, {network}", flush=True)
        for path, png in pictures(name).items():
            print(f"wrote {write_bytes(png, path)}")


if __name__ == "__main__":
    main()
