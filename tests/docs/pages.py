"""The project's Markdown pages: their fenced blocks, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first line of text
    language: str
    words: tuple[str, ...]  # what follows the language in the opening fence
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and "no-run" not in self.words

    def commands(self) -> Iterator[str]:
        """The lines of a shell block, continued ones joined, without comments and empty ones."""
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        for line in joined.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield line.strip()


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _split(self) -> tuple[list[Block], str]:
        """The fenced blocks, and the page without them."""
        blocks, prose, fence, inside, start = [], [], "", [], 0
        for number, line in enumerate(self.text.splitlines(), 1):
            match = re.match(r"\s*(`{3,}|~{3,})\s*([^`]*)$", line)
            if not fence and match:
                fence, info, inside, start = match[1], match[2].split(), [], number + 1
            elif fence and match and match[1].startswith(fence) and not match[2].strip():
                language, *words = info or [""]
                blocks.append(Block(self.path, start, language, tuple(words), "\n".join(inside)))
                fence = ""
            elif fence:
                inside.append(line)
            else:
                prose.append(line)
        if fence:
            raise ValueError(f"{self.name}: the block that begins at line {start} has no end")
        return blocks, "\n".join(prose)

    @property
    def blocks(self) -> list[Block]:
        return self._split[0]

    @property
    def prose(self) -> str:
        return self._split[1]

    @cached_property
    def links(self) -> list[str]:
        """Targets of [links](target) and ![pictures](target), in order, code left out."""
        prose = re.sub(r"`[^`\n]*`", "", self.prose)
        return re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)

    @cached_property
    def anchors(self) -> set[str]:
        """What `#…` may point at, as code forges derive it from headings."""
        found: dict[str, int] = {}
        names = set(re.findall(r'(?:id|name)="([^"]+)"', self.text))
        for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", self.prose, re.MULTILINE):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            names.add(f"{slug}-{found[slug]}" if slug in found else slug)
            found[slug] = found.get(slug, 0) + 1
        return names


def pages() -> list[Page]:
    folders = (ROOT, *(ROOT / name for name in ("docs", "examples", "benchmarks")))
    return [Page(path) for folder in folders for path in sorted(folder.glob("**/*.md" if folder != ROOT else "*.md"))]
