"""What the README says of the zoo is what the tables of docs/zoo.md show."""

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
