"""The pages of `templates/web` in one file: modules, styles and data inside, and a policy that forbids connections."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

#: what one page may do: its own scripts, by their hashes; pictures and videos of its own; no connection to anywhere
POLICY = (
    "default-src 'none'; script-src {scripts} 'wasm-unsafe-eval' blob:; worker-src blob:; style-src {styles}; "
    "img-src data: blob:; media-src blob: mediastream:; base-uri 'none'; form-action 'none'"
)
#: the modules of the page's script, and of its worker's: what one imports is in the same list
PAGE = ("timeline.js", "frames.js", "personal.js", "lessons.js", "page.js")
WORKER = ("everyframe.js", "teach.js", "messages.js", "worker.js")
IMPORT = re.compile(r'^import \{[^}]*\} from "\./[\w.]+";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=async |function |class |const )", re.MULTILINE)


def filled(text: str, words: Mapping[str, str]) -> str:
    """Every `{{ word }}` that is known replaced."""
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: words[match[1]], text)


def page(folder: Path, data: Mapping[str, str], words: Mapping[str, str]) -> str:
    """One page. data: by name, in base64: what the scripts find instead of files."""
    text = filled(_read(folder, "index.html"), words)
    style, script, worker = (
        _read(folder, "page.css"),
        _joined(folder, *PAGE),
        _joined(folder, *WORKER),
    )
    kept = "".join(f'<script type="text/plain" id="{name}">{value}</script>\n' for name, value in data.items())
    kept += f'<script type="text/plain" id="worker.js">{_inside(worker)}</script>\n'
    policy = POLICY.format(scripts=_hash(script), styles=_hash(style))
    text = re.sub(r'(<meta http-equiv="Content-Security-Policy" content=")[^"]*', lambda m: m[1] + policy, text)
    text = text.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    return text.replace('<script type="module" src="page.js"></script>', f'{kept}<script type="module">{script}</script>')


def _joined(folder: Path, *names: str) -> str:
    """Modules as one script."""
    return _inside("\n".join(EXPORT.sub("", IMPORT.sub("", _read(folder, name))) for name in names))


def _inside(script: str) -> str:
    """Text that may stand in a script element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
