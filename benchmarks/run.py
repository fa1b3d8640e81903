"""Runs all benchmarks, one after another, and writes their tables into docs/benchmarks.md.

    python benchmarks/run.py                     all of them, a quarter of an hour; run it on a machine that does nothing else
    python benchmarks/run.py startup --quick     one of them, for a look: results go to out/bench, the page stays as it is
    python benchmarks/run.py --tables            only writes the page again, from benchmarks/results
    python benchmarks/run.py --check             fails if the page does not show what is in benchmarks/results

Results lie in benchmarks/results, one JSON file a benchmark.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import networks

from everyframe.bench import fill

BENCHMARKS = ("x3d_step", "zoo_step", "clip_networks", "kgs_layers", "int8", "quantised", "predict_overhead", "startup")
PAGE = networks.ROOT / "docs" / "benchmarks.md"


def page() -> str:
    """docs/benchmarks.md with the tables of all results that are there."""
    text = PAGE.read_text(encoding="utf-8")
    for name in BENCHMARKS:
        path = networks.RESULTS / f"{name}.json"
        if path.exists():
            results = json.loads(path.read_text(encoding="utf-8"))
            tables = importlib.import_module(name).tables(results)
            text = fill(text, name, "\n\n".join(table.markdown() for table in tables))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a few seconds each, page and results untouched")
    parser.add_argument("--tables", action="store_true", help="only write the page")
    parser.add_argument("--check", action="store_true", help="only compare the page with the results")
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if args.check:
        if page() != PAGE.read_text(encoding="utf-8"):
            sys.exit("docs/benchmarks.md does not show benchmarks/results: run `python benchmarks/run.py --tables`")
        return
    if not args.tables:
        for name in args.names or BENCHMARKS:
            print(f"== {name}", flush=True)
            script = [sys.executable, Path(__file__).with_name(f"{name}.py")]
            output = networks.CACHE / "quick" / f"{name}.json" if args.quick else networks.RESULTS / f"{name}.json"
            subprocess.run([*script, "-o", output, *(["--quick"] if args.quick else [])], check=True)
    if not args.quick:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(networks.ROOT)}")


if __name__ == "__main__":
    main()
