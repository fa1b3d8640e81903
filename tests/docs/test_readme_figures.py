"""What the README and pages say in words is what tables show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows() -> dict[str, list[str]]:
    """The table of all networks: name -> cells."""
    table = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8").split("<!-- all networks -->")[1].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| `")]
    return {name.strip("`"): row for name, *row in cells}


def test_the_readme_claims_what_the_table_shows() -> None:
    said, table = (ROOT / "README.md").read_text(encoding="utf-8"), rows()
    assert f"one of the {len(table)} networks of the zoo" in said
    assert f"{sum(bool(row[3]) for row in table.values())} of them have been compared with their original implementation" in said
    _, _, clip, _, _, _, _, state, step, *_ = table["x3d_m"]
    million, thousand_million = (int(number.replace(",", "")) / 10**power for number, power in ((step, 6), (clip, 9)))
    claim = re.search(r"X3D-M costs (\S+) M multiply-adds instead of (\S+) G, with (\S+) floats", said)
    assert claim
    assert claim.groups() == (f"{million:.0f}", f"{thousand_million:.1f}", state)


def test_the_readme_claims_of_the_built_in_model_what_its_page_shows() -> None:
    said, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/motions.md"))
    claim = re.search(
        r"its first event is right in (\d+) %, of real clips .*? in (\d+) %, while (\d+) % of those", said, re.DOTALL
    )
    rendered = re.search(r"480 single gestures, 8 labels, first event: accuracy \| ([\d.]+) %", page)
    found = {
        what: [(int(clips), float(cut)) for clips, cut in re.findall(rf"{pattern}", page)]
        for what, pattern in (
            ("right", r"\((\d+) clips of mapped classes\): first event right[^|]*\| [\d.]+ % / ([\d.]+) %"),
            ("silent", r"\((\d+) clips of mapped classes\)[^\n]*\n\|[^|]*no event at all[^|]*\| [\d.]+ % / ([\d.]+) %"),
        )
    }
    right, silent = (sum(n * share for n, share in rows) / sum(n for n, _ in rows) for rows in found.values())
    assert claim and rendered and len(found["right"]) == len(found["silent"]) == 2
    assert claim.groups() == tuple(f"{share:.0f}" for share in (float(rendered[1]), right, silent))


def test_compiled_code_is_the_fastest_where_its_page_says_so() -> None:
    said, page = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("compile.md", "benchmarks.md"))
    table = page.split("<!-- zoo_step -->")[1].split("<!-- end of zoo_step -->")[0]
    ratios = [float(ratio) for ratio in re.findall(r"\| ([\d.]+)x \|$", table, re.MULTILINE)]
    claim = re.search(r"it was the fastest engine for all (\d+) step networks", said)
    assert claim and int(claim[1]) == len(ratios) and min(ratios) > 1
