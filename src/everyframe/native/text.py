"""The parts of the C file while they are written: calls, structures that equal ones share, and what is said of each call."""

from __future__ import annotations

from dataclasses import dataclass, field

from everyframe.native import maps
from everyframe.native.layout import Form
from everyframe.native.lower_elementwise import c_float


@dataclass(frozen=True)
class Work:
    """One call of a kernel. label: the ONNX node's name. macs: multiply-adds; bytes: weights and tables that it reads."""

    label: str
    kernel: str
    macs: int = 0
    bytes: int = 0


@dataclass
class Text:
    """Collects the parts of the file."""

    tables: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)  # of each call of a kernel
    known: dict[str, str] = field(default_factory=dict)  # text of a structure -> its name
    counts: dict[str, int] = field(default_factory=dict)
    maps: dict[maps.MapForm, int] = field(default_factory=dict)

    def structure(self, kind: str, fields: dict[str, object], comment: str = "") -> str:
        """Name of a constant structure; equal ones are written once."""
        body = ", ".join(f".{name} = {value_text(value)}" for name, value in fields.items())
        key = f"{kind} {body}"
        if key not in self.known:
            number = self.counts[kind] = self.counts.get(kind, -1) + 1
            self.known[key] = f"{kind}_{number}"
            note = f"/* {comment} */\n" if comment else ""
            self.tables.append(f"{note}static const {kind} {self.known[key]} = {{{body}}};")
        return self.known[key]


def value_text(value: object) -> str:
    if isinstance(value, Form):
        return f"{{{value.channels}, {value.height}, {value.width}, {value.block}, {value.row}, {value.plane}, {value.size}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'.{name} = {value_text(each)}' for name, each in value.items())}}}"
    if isinstance(value, tuple) and value and isinstance(value[0], float):
        return f"(const float[]){{{', '.join(map(c_float, value))}}}"
    if isinstance(value, tuple):
        if value and isinstance(value[0], Form):
            return f"(const form[]){{{', '.join(map(value_text, value))}}}"
        return f"(const int32_t[]){{{', '.join(map(str, value))}}}"
    return c_float(value) if isinstance(value, float) else str(value)


def safe(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")
