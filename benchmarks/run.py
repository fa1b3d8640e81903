"""Runs all benchmarks, one after another, and writes their tables into the pages of docs.

    python benchmarks/run.py                     all of them, a quarter of an hour; run it on a machine that does nothing else
    python benchmarks/run.py startup --quick     one of them, for a look: results go to out/bench, the pages stay as they are
    python benchmarks/run.py --tables            only writes the pages again, from benchmarks/results
    python benchmarks/run.py --check             fails if a page does not show what is in benchmarks/results
    python benchmarks/papers.py                  what docs/papers shows: by itself, since it takes hours

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
import papers

from everyframe.benchmarking import fill

BENCHMARKS = (
    "standard",
    "x3d_step",
    "zoo_step",
    "tasks",
    "clip_networks",
    "kgs_layers",
    "int8",
    "quantized",
    "predict_overhead",
    "startup",
)
DOCS = networks.ROOT / "docs"
#: page -> the benchmarks whose tables it shows; those beside BENCHMARKS need labeled clips and hours, and are run by themselves
PAGES = {
    DOCS / "benchmarks.md": BENCHMARKS,
    DOCS / "train.md": ("train_accuracy", "training_speed"),
    DOCS / "prune.md": ("prune_accuracy",),
    DOCS / "pretraining.md": ("pretraining",),
}
PAPERS = {DOCS / "papers" / f"{name}.md": name for name in papers.NAMES}


def filled(page: Path) -> str:
    """The page with the tables of all results that are there."""
    text = page.read_text(encoding="utf-8")
    if page in PAPERS:
        return fill(text, f"paper_{PAPERS[page]}", papers.content(PAPERS[page]))
    for name in PAGES[page]:
        path = networks.RESULTS / f"{name}.json"
        if path.exists():
            results = json.loads(path.read_text(encoding="utf-8"))
            tables = importlib.import_module(name).tables(results)
            parts = [table.markdown() for table in tables]
            parts += [f"**{what}**\n\n![{what}]({path.name})" for path, (what, _) in drawn(name, page.parent).items()]
            text = fill(text, name, "\n\n".join(parts))
    return text


def drawn(name: str, folder: Path) -> dict[Path, tuple[str, bytes]]:
    """Pictures of a benchmark's results in the folder of its page: heading, PNG."""
    made, path = importlib.import_module(name), networks.RESULTS / f"{name}.json"
    if not hasattr(made, "pictures") or not path.exists():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))
    return {folder / f"{file}.png": one for file, one in made.pictures(results).items()}


def all_pictures() -> dict[Path, bytes]:
    found = {path: png for page, names in PAGES.items() for name in names for path, (_, png) in drawn(name, page.parent).items()}
    for name in papers.NAMES:
        found |= papers.pictures(name)
    return found


def _shows(path: Path, png: bytes) -> bool:
    """Is it the same picture? Compressed otherwise, it still is."""
    import io

    from PIL import Image

    return path.exists() and Image.open(path).tobytes() == Image.open(io.BytesIO(png)).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a few seconds each, pages and results untouched")
    parser.add_argument("--tables", action="store_true", help="only write the pages")
    parser.add_argument("--check", action="store_true", help="only compare the pages with the results")
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if args.check:
        old = [page for page in (*PAGES, *PAPERS) if filled(page) != page.read_text(encoding="utf-8")]
        old += [path for path, png in all_pictures().items() if not _shows(path, png)]
        if old:
            names = ", ".join(str(path.relative_to(DOCS.parent)) for path in old)
            sys.exit(f"{names}: not what is in benchmarks/results; run `python benchmarks/run.py --tables`")
        return
    if not args.tables:
        for name in args.names or BENCHMARKS:
            print(f"== {name}", flush=True)
            script = [sys.executable, Path(__file__).with_name(f"{name}.py")]
            output = networks.CACHE / "quick" / f"{name}.json" if args.quick else networks.RESULTS / f"{name}.json"
            subprocess.run([*script, "-o", output, *(["--quick"] if args.quick else [])], check=True)
    if not args.quick:
        for page in (*PAGES, *PAPERS):
            page.write_text(filled(page), encoding="utf-8")
            print(f"wrote {page.relative_to(networks.ROOT)}")
        for path, png in all_pictures().items():
            path.write_bytes(png)


if __name__ == "__main__":
    main()
