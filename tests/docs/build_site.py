"""`make site`: the documentation as pages of a browser, in site/.

    python tests/docs/build_site.py [FOLDER]

The pages are copied to build/pages in the folders that they have in the repository, with what they link to, so that their links
hold in both places. Two things are made: a reference of the public Python names, from their docstrings, and the pictures that
the tool draws, where a page has a line `<!-- picture: NAME -->`. Nothing of a built page is loaded from another host (`foreign`
looks).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests")]

from pages import Page, pages  # noqa: E402

from command_line import environment  # noqa: E402

PREPARED = ROOT / "build" / "pages"
#: name -> what draws it in the working folder, the file it leaves, what it shows
PICTURES = {
    "timeline": (["demo", "--output", "."], "timeline.png", "What the built-in model saw in the built-in video, frame by frame"),
}
MARK = re.compile(r"^<!-- picture: (\w+) -->$", re.MULTILINE)
#: the built-in model's page goes along, and stands in the place of a line `<!-- page: demo -->`
DEMO, DEMO_LINE = "everyframe.html", "<!-- page: demo -->"
FRAME = f"""\
<iframe src="{DEMO}" title="The built-in model, at work in your browser" allow="camera" style="width:100%;height:46rem;border:0">
</iframe>

[Open it as a page of its own]({DEMO})"""
REFERENCE = """\
# Python

All that `import everyframe` offers. Everything is loaded when it is first used.
"""


def prepare(folder: Path = PREPARED) -> None:
    """Writes all that mkdocs reads, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages():
        target = folder / where(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = _with_pictures(_with_files(page, folder), page, folder)
        # mkdocs takes a fence with more than a language (`sh no-run`) for text
        text = text.replace(DEMO_LINE, FRAME)
        target.write_text(re.sub(r"^(\s*```\w+) .*$", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    (folder / "docs" / "reference.md").write_text(reference(), encoding="utf-8")


def where(page: Page) -> Path:
    """The README is the first page."""
    return Path("index.md" if page.name == "README.md" else page.name)


def _with_files(page: Page, folder: Path) -> str:
    """The page's text; what it links to beside pages is copied, and a folder becomes its README or a list of its files."""
    text = page.text
    for link in dict.fromkeys(page.links):
        path = link.partition("#")[0]
        if not path or re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        source = (page.path.parent / path).resolve()
        target = folder / source.relative_to(ROOT)
        if (source / "README.md").exists():
            text = text.replace(f"]({link})", f"]({path.rstrip('/')}/README.md)")
        elif source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            files = sorted(each.name for each in source.iterdir() if each.suffix == ".py")
            for name in files:
                shutil.copy(source / name, target)
            rows = "\n".join(f"- [{name}]({name})" for name in files)
            (target / "index.md").write_text(f"---\nsearch: {{exclude: true}}\n---\n\n# {target.name}\n\n{rows}\n")
            text = text.replace(f"]({link})", f"]({path.rstrip('/')}/index.md)")
        elif source.suffix != ".md":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return text


def _with_pictures(text: str, page: Page, folder: Path) -> str:
    up = "../" * (len(where(page).parts) - 1)

    def drawn(match: re.Match[str]) -> str:
        arguments, name, says = PICTURES[match[1]]
        (folder / "pictures").mkdir(exist_ok=True)
        if not (folder / "pictures" / name).exists():
            _run(arguments, folder / "pictures")
        return f"![{says}]({up}pictures/{name})"

    return MARK.sub(drawn, text)


def _run(arguments: list[str], folder: Path) -> None:
    """The program itself, in a folder."""
    command = [sys.executable, "-c", "from everyframe.cli.main import run; run()", *arguments]
    subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=True)


def reference() -> str:
    """One entry a public name; of a public module, one for each name of its own."""
    import everyframe

    parts = [REFERENCE]
    for name in everyframe.__all__:
        if name.startswith("_"):
            continue
        if (ROOT / "src" / "everyframe" / name).is_dir() or (ROOT / "src" / "everyframe" / f"{name}.py").exists():
            module = getattr(everyframe, name)
            parts += [f"## everyframe.{name}\n"]
            parts += [_entry(f"everyframe.{name}.{each}", level=3) for each in module.__all__]
        else:
            parts.append(_entry(f"everyframe.{name}", level=2))
    return "\n".join(parts)


def _entry(path: str, level: int) -> str:
    return f"::: {path}\n    options:\n      heading_level: {level}\n"


class _Loads(HTMLParser):
    """What a browser fetches for a page, links to be clicked apart."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "mermaid" in (values.get("class") or "").split():
            self.found.append("//a diagram, for which the theme fetches its renderer")
        loads = {"link": "href", "object": "data"}.get(tag, "src")
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev", "alternate"):
            return
        self.found += [value for key in (loads, "srcset", "poster") if (value := values.get(key))]


def foreign(folder: Path) -> list[str]:
    """What the built pages and their styles load from other hosts: 'page: address'."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        reader = _Loads()
        reader.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {each}" for each in reader.found if re.match(r"(?:[a-z]+:)?//", each)]
    for path in sorted(folder.rglob("*.css")):
        urls = re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {each}" for each in urls]
    for path in sorted(folder.rglob("*.js")):
        scripts = re.findall(r"https?://(?:unpkg|cdn|[a-z.]*jsdelivr|cdnjs|fonts)[^\"'` ]*", path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {each}" for each in scripts]
    return found


#: the theme's own script would fetch what we have no use for: a renderer of diagrams, and what browsers before 2020 lack
FETCHED = "https://unpkg.com/"
#: a script that does nothing
NOTHING = "data:text/javascript,//"


def _fetch_nothing(folder: Path) -> None:
    for path in (folder / "assets").rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        if FETCHED in text:
            path.write_text(text.replace(FETCHED, NOTHING), encoding="utf-8")


def build(folder: Path) -> None:
    """Exits with mkdocs' own message where a link leads nowhere."""
    prepare()
    _run(["demo", "--web", "--output", "."], PREPARED)
    mkdocs(ROOT / "mkdocs.yml", folder)
    _fetch_nothing(folder)
    if others := foreign(folder):
        sys.exit("the pages load from other hosts:\n" + "\n".join(others))


def mkdocs(config: Path, folder: Path) -> None:
    """What it says is shown where it fails. Not `--quiet`: warnings that are not heard are not counted as errors either."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "-f", config, "-d", folder]
    done = subprocess.run(command, env=environment(NO_MKDOCS_2_WARNING="1"), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site").resolve()
    build(target)
    print(target / "index.html")
