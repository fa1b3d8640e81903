"""The documentation as pages of a browser: every page is listed, links hold, and nothing comes from other hosts."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import build_site
import pytest
from pages import ROOT, Page, pages

import everyframe

CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
NEEDED = ("mkdocs", "material", "mkdocstrings")


def test_the_menu_lists_every_page() -> None:
    """`make site` says so too, where it is installed."""
    menu = re.findall(r"^ +- (?:[\w ]+: )?(\S+\.md)$", CONFIG.partition("\nnav:\n")[2], re.MULTILINE)
    # an example's own page is reached from the page that the example is for
    there = {str(build_site.where(page)) for page in pages() if not page.name.startswith("examples/")} | {"docs/reference.md"}
    assert sorted(menu) == sorted(there), "give new pages a line in mkdocs.yml"


def test_pictures_that_pages_ask_for_can_be_drawn() -> None:
    asked = {name for page in pages() for name in build_site.MARK.findall(page.text)}
    assert asked == set(build_site.PICTURES)


def test_links_of_the_prepared_pages_lead_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_site, "_with_pictures", lambda text, page, folder: text)
    build_site.prepare(tmp_path)
    broken = []
    (tmp_path / build_site.DEMO).touch()  # what `build` makes
    for path in tmp_path.rglob("*.md"):
        links = [link.partition("#")[0] for link in Page(path).links if not re.match(r"[a-z][a-z0-9+.-]*:", link)]
        # the first page has another name there
        broken += [f"{path.name}: {link}" for link in links if link and not (path.parent / link).is_file()]
    assert not [line for line in broken if not line.endswith("README.md")], "\n".join(broken)


def _needs_mkdocs() -> None:
    absent = [name for name in NEEDED if not find_spec(name)]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (pip install 'everyframe[site]')")


@pytest.mark.slow
def test_it_builds_and_stays_at_home(tmp_path: Path) -> None:
    """Links and headings are checked by mkdocs itself: it is strict."""
    _needs_mkdocs()
    build_site.build(tmp_path / "site")
    assert build_site.foreign(tmp_path / "site") == []
    text = (tmp_path / "site" / "docs" / "reference.html").read_text(encoding="utf-8")
    described = set(re.findall(r'id="(everyframe[\w.]*)"', text))
    modules = ("models", "errors")
    assert {f"everyframe.{name}" for name in everyframe.__all__ if name not in (*modules, "__version__")} <= described
    assert "Raises UsageError" in text, "docstrings are there"
    assert (tmp_path / "site" / "pictures" / "timeline.png").stat().st_size > 1000
    first = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'src="pictures/timeline.png"' in first
    assert '<iframe src="everyframe.html"' in first and 'id="simd128.wasm"' in (tmp_path / "site" / "everyframe.html").read_text()
    unread = [path.name for path in (tmp_path / "site").rglob("*.html") if "<p>```" in path.read_text(encoding="utf-8")]
    assert unread == [], "blocks of code that were taken for text"


class TestTheCheckItself:
    """Each kind of thing that a page may load from elsewhere is planted once."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[a](nowhere.md)", "nowhere.md"),
            ("[a](#no-such-heading)", "no-such-heading"),
            ("::: everyframe.nothing", "everyframe.nothing"),
        ],
    )
    def test_the_build_ends_where_something_leads_nowhere(self, text: str, said: str, tmp_path: Path) -> None:
        _needs_mkdocs()
        (tmp_path / "pages").mkdir()
        (tmp_path / "pages" / "index.md").write_text(f"# a\n\n{text}\n")
        (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: pages\nnav: [index.md]\n")
        with pytest.raises(SystemExit, match=said):
            build_site.mkdocs(tmp_path / "mkdocs.yml", tmp_path / "site")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.html", '<script src="https://cdn.example/x.js"></script>'),
            ("a.html", '<link rel="stylesheet" href="//fonts.example/css">'),
            ("a.html", '<p><img src="http://example.org/a.png"></p>'),
            ("a.html", '<pre class="mermaid">a</pre>'),
            ("a/b.css", "@import 'https://example.org/b.css';"),
            ("a/b.css", "a { background: url(//example.org/a.png) }"),
            ("a/b.js", 'load("https://unpkg.com/thing")'),
        ],
    )
    def test_finds(self, name: str, text: str, tmp_path: Path) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        assert len(build_site.foreign(tmp_path)) == 1

    def test_links_to_be_clicked_are_no_loads(self, tmp_path: Path) -> None:
        text = '<a href="https://example.org">there</a><img src="pictures/a.png"><link rel="next" href="//e">'
        (tmp_path / "a.html").write_text(text)
        assert build_site.foreign(tmp_path) == []
