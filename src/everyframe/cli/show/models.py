"""How models and conversions are printed: tables and the sentences that keep their figures honest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from everyframe.cli.show.console import console, count, duration
from everyframe.modelfile.schema import BESIDE

if TYPE_CHECKING:
    from everyframe.api.fitted import Code
    from everyframe.api.results import Converted

EVERYTHING = "everything since the reset"  # of a network whose state goes on for ever


def input_lines(specs: list[dict[str, Any]]) -> list[str]:
    """What a model with several inputs takes in a step."""
    rates = {0: "no frames, one value for all", 1: "a frame with every frame"}
    lines = []
    for spec in specs:
        rate = rates.get(spec["every"], f"a frame every {spec['every']} frames")
        kind = "pictures or arrays" if spec["preprocess"] else "arrays"
        lines.append(f"  input {spec['name']} {tuple(spec['shape'])}: {rate}, {kind}")
    return lines


def stream_lines(made: Converted, output: Path) -> list[str]:
    """What a conversion is said to be."""
    meta, found = made.metadata, made.to_dict()
    state, per_hop, per_prediction = found["state_floats"], found["saving_per_hop"], found["saving_per_frame"]
    fps = meta.preprocess.fps

    def span(frames: int) -> str:
        return duration(frames, None if fps is None else frames * 1000 / fps)

    lines = [
        f"wrote {output}",
        f"  a step takes {span(meta.hop)}; compared with the clip network over a stream: "
        f"largest relative difference {made.difference:.1e}",
        f"  delay: the newest frame a prediction has fully seen is {span(meta.feature_delay)} old; "
        f"the window of {meta.window} is full after {span(meta.delay)}",
        f"  receptive field {EVERYTHING if meta.unbounded else span(meta.receptive_field)}, state {count(state)} floats "
        f"({found['state_bytes'] / 2**20:.1f} MiB) in {len(meta.states)} tensors",
        f"  {count(found['macs_per_frame'])} MACs a frame; a clip takes {count(found['macs_per_clip'])}",
    ]
    if made.state_difference is not None:
        lines.append(f"  states are float16: largest relative difference to those of float32 {made.state_difference:.1e}")
    if meta.hop == 1:
        lines.append(f"  a prediction at every frame costs {per_prediction:.1f}x less than running a clip at every frame")
    else:
        lines.append(
            f"  a prediction every {meta.hop} frames costs {per_hop:.1f}x less than a clip every {meta.hop} frames "
            f"(and {per_prediction:.1f}x less than a clip at every frame); --rate dense predicts at every frame"
        )
    if meta.feature_delay > meta.frames:
        lines.append(
            f"  note: the delay exceeds the clip of {meta.frames} frames; a sliding clip would answer sooner, with less context"
        )
    lines += input_lines([spec.model_dump() for spec in meta.inputs])
    lines.append(f"  output: {meta.task}, {meta.scores}")
    lines += [f"  and {spec.name} {spec.shape}: {spec.task}, {spec.scores}, {span(spec.delay)} late" for spec in meta.outputs]
    if made.assumed:
        told = ", ".join(dict.fromkeys(made.assumed.values()))
        lines.append(f"  assumed, since nobody says: {'; '.join(made.assumed)} ({told})")
    return [*lines, *(f"  {note}" for note in made.notes)]


def detected(found: dict[str, Any]) -> str:
    """What a model that finds objects in scans gives, and where it looks."""
    grid = found["grid"]
    spans = [f"{low:g} to {high:g} m {what}" for low, high, what in zip(grid["low"], grid["high"], _WAYS, strict=True)]
    names = ", ".join(found["labels"] or ())
    return f"boxes of {names} in scans: {', '.join(spans)}, cells of {grid['cell']:g} m"


_WAYS = ("ahead", "to the left", "up")


def enhanced(found: dict[str, Any]) -> str:
    """What a model beside recognition gives; empty of any other."""
    if found["task"] == "detect":
        return detected(found)
    if found["task"] != "enhance" or not found["output"]:
        return ""
    height, width = found["output"][-2:]
    return f"the luma of pictures, {height // found['input'][-2]} times larger: {width}x{height}"


def show_info(found: dict[str, Any]) -> None:
    (_show_step if found["kind"] == "step" else _show_clip)(found)
    out, compiled = console(), found["compiled"]
    _show_saturation(found)
    if "refused" in compiled:
        out.print(f"\nnot for the native engine: {compiled['refused']}", markup=False)
        return
    out.print(f"\ncompiled for {compiled['cpu']}:", markup=False)
    for line in memory_lines(compiled):
        out.print("  " + line, markup=False)


def _show_saturation(found: dict[str, Any]) -> None:
    """One line about a quantized model, from `account.saturation_of`."""
    facts = found["saturation"]
    if facts is None:
        return
    names = [row["name"] for row in facts["layers"]]
    line = "its products overflow on no x86 processor"
    if names:
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        here = "as this one is" if facts["this_processor"] else "which this one is not"
        line = f"its products can saturate on x86 processors without VNNI ({here}): {some}; see `quantize --overflow-fix`"
    console().print(f"\nin integers: {line}", markup=False, soft_wrap=True)


def _table(title: str, columns: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table


def _facts(found: dict[str, Any]) -> list[str]:
    return [
        f"hop {found['hop']} frame{'s' if found['hop'] > 1 else ''} a step, window {found['window_frames']}, "
        f"receptive field {EVERYTHING if found['unbounded'] else duration(found['receptive_field_frames'], None)}",
        f"delay {duration(found['delay_frames'], found['delay_ms'])} until the window is full; "
        f"first prediction, and newest frame seen by one: "
        f"{duration(found['feature_delay_frames'], found['feature_delay_ms'])}",
    ] + (
        [f"the delay exceeds the clip length of {found['frames']} frames"]
        if found["feature_delay_frames"] > found["frames"]
        else []
    )


def _origin(found: dict[str, Any]) -> str:
    """How long the clips were that the network took; networks beside recognition take none."""
    frames = found["frames"]
    return "" if found["task"] in BESIDE else f", made from clips of {frames} frame{'s' * (frames > 1)}"


def _show_step(found: dict[str, Any]) -> None:
    out = console()
    out.print(
        f"{found['file']}: step network, input {tuple(found['input'])}{_origin(found)}",
        markup=False,
    )
    for line in _facts(found):
        out.print("  " + line, markup=False)
    for line in input_lines(found["inputs"]):
        out.print(line, markup=False)
    out.print(f"  output: {enhanced(found) or ', '.join((found['task'], found['scores']))}", markup=False)
    for spec in found["outputs"]:
        every = f"{spec['every']} frames" if spec["every"] > 1 else "frame"
        about = f"{spec['task']}, {spec['scores']}, a value every {every}, delay {spec['delay']}"
        out.print(f"  output {spec['name']} {tuple(spec['shape'])}: {about}", markup=False)
    table = _table(
        "\nlayers, for one step",
        [
            ("layer", "left"),
            ("op", "left"),
            ("output", "left"),
            ("MACs", "right"),
            ("params", "right"),
            ("state floats", "right"),
        ],
    )
    for row in found["layers"]:
        table.add_row(
            row["name"],
            row["op"],
            "x".join(map(str, row["output"])),
            *(f"{row[key]:,}" if row[key] else "" for key in ("macs", "params", "state_floats")),
        )
    table.add_section()
    table.add_row(
        "total",
        "",
        "",
        f"{found['macs_per_step']:,}",
        f"{found['params']:,}",
        f"{found['state_floats']:,}",
        style="bold",
    )
    out.print(table)
    out.print(
        f"\n{count(found['macs_per_frame'])} MACs a frame; transient memory {found['transient_floats']:,} floats",
        markup=False,
    )
    if found["published"]:
        _show_published(out, found["published"])


def _show_published(out: Console, table: dict[str, Any]) -> None:
    rows = _table(
        f"\nstate floats beside the published table: {table['name']} ({table['source']})",
        [("row", "left"), ("printed", "right"), ("by its formula", "right"), ("ours", "right"), ("", "left")],
    )
    for row in table["rows"]:
        rows.add_row(
            row["label"],
            *(f"{row[key]:,}" for key in ("printed", "formula", "ours")),
            "the printed row is wrong" if row["wrong"] else "",
        )
    rows.add_section()
    rows.add_row("total", *(f"{table[key]:,}" for key in ("printed_total", "formula_total", "ours_total")), "", style="bold")
    out.print(rows)
    for note in table["notes"]:
        out.print(f"  {note}", markup=False)


def choice_lines(made: Code) -> list[str]:
    """How convolutions are computed that do not have the default, and what was measured now."""
    lines = []
    if made.rows:
        won = [row.facts for row in made.rows if row.facts["ms"] < row.facts["default_ms"]]
        lines.append(f"measured {len(made.rows)} convolutions, {len(won)} gained; kept in {made.table}")
        for facts in won:
            ratio = facts["default_ms"] / facts["ms"]
            lines.append(f"  {ratio:.2f}x  {facts['shape']}: {facts['ms']:.3g} ms a frame instead of {facts['default_ms']:.3g}")
    elif made.table:
        lines.append(f"nothing to measure: {made.table} has it all")
    apart = sum(choice.why != "default" for _, choice in made.chosen)
    tiles = [choice.tile for _, choice in made.chosen if choice.tile]
    if made.inexact:
        lines.append(f"{made.inexact} convolutions by Winograd's F(4x4, 3x3), within the difference above; --exact does without")
    if bytes_too := tiles.count(4) - made.inexact:
        lines.append(f"{bytes_too} convolutions of bytes by Winograd's F(4x4, 3x3), which changes none of them")
    if few := tiles.count(2):
        lines.append(f"{few} convolutions by Winograd's F(2x2, 3x3)")
    if made.halved:
        why = "within the difference above" if made.difference is not None else "not compared"
        lines.append(f"{made.halved} convolutions with weights of 16 bits, {why}; --weights fp32 does without")
    return [*lines, *([f"{apart} of {len(made.chosen)} convolutions as they were measured"] if apart else [])]


def memory_lines(account: dict[str, Any], memory_bytes: int | None = None, weight_bytes: int | None = None) -> list[str]:
    """What a compiled model keeps in memory, from `native.memory.account`. memory_bytes: all of a stream."""
    parts = account["bytes"]
    whole = sum(parts.values()) if memory_bytes is None else memory_bytes
    details = {
        "states": ", ".join(
            f"{pool['buffers']} of {'x'.join(map(str, pool['frame']))}"
            for pool in sorted(account["states"], key=lambda pool: -pool["bytes"])[:3]
        ) + (", …" if len(account["states"]) > 3 else ""),
        "within a step": f"{account['step']['frames']} frames; {account['step']['bytes_unshared'] / 1e6:,.2f} MB if none shared",
    }  # fmt: skip
    lines = [f"a stream takes {whole / 1e6:,.1f} MB:"]
    for what, size in parts.items():
        lines.append(f"  {size / 1e6:8,.2f} MB  {what}" + (f" ({details[what]})" if details.get(what) else ""))
    return lines if weight_bytes is None else [*lines, f"weights and tables, shared: {weight_bytes / 1e6:,.1f} MB"]


def show_library(found: dict[str, Any]) -> None:
    """A compiled model, from `cli.verbs.info`."""
    out = console()
    clip = found["kind"] == "clip"
    out.print(f"{found['file']}: compiled {found['kind']} network for {found['memory']['cpu']}", markup=False)
    shape = (1, found["channels"], found["frames"]) if clip else (found["frames"], found["channels"])
    out.print(f"  input {(*shape, found['height'], found['width'])}, {found['classes']} classes", markup=False)
    for line in memory_lines(found["memory"], found["memory_bytes"], found["weight_bytes"]):
        out.print("  " + line, markup=False)


def show_split(found: dict[str, Any]) -> None:
    """A split model, from `account.info_split`."""
    out = console()
    kept = f"{len(found['states'])} states of {found['state_bytes'] / 1e3:,.1f} kB"
    out.print(f"{found['folder']}: step network in {found['stages']} stages, {kept}", markup=False)
    table = _table("", [("part", "left"), ("takes", "left"), ("gives", "left"), ("MACs", "right"), ("params", "right")])
    states = {spec["output"] for spec in found["states"]}
    for part in found["parts"]:
        takes = _listed([(port["role"], port) for port in part["inputs"]])
        gives = _listed([("state" if port["name"] in states else "", port) for port in part["outputs"]])
        style = None if part["place"] == "stage" else "dim"
        table.add_row(
            part["file"], takes, gives, *(f"{part[key]:,}" if part[key] else "" for key in ("macs", "params")), style=style
        )
    out.print(table)
    _show_saturation(found)


def show_stages(found: dict[str, Any]) -> None:
    """Where the time of a frame goes, from `benchmarking.stages`."""
    out = console()
    rows = [(name, found[name]) for name in ("decode", "preprocess")]
    rows += [*found["networks"].items(), ("postprocess", found["postprocess"])]
    whole = sum(taken for _, taken in rows)
    table = _table("", [("", "left"), ("ms a frame", "right"), ("", "left")])
    for name, taken in rows:
        table.add_row(name, f"{taken:.3f}", "█" * round(taken / whole * 50))
    table.add_section()
    computed = found["preprocess"] + found["step"]
    table.add_row("preprocess + step", f"{computed:.3f}", f"{found['serial_fps']:.1f} frames/s, as articles count")
    table.add_row("predict", f"{found['whole']:.3f}", f"{found['fps']:.1f} frames/s, decoding beside the rest")
    out.print(table)
    out.print(f"{found['frames']} frames; medians of each stage by itself", markup=False)


def _listed(ports: list[tuple[str, dict[str, Any]]]) -> str:
    """(role, port) in words; more than two states are counted only."""
    states = [port for role, port in ports if role == "state"]
    few = len(states) <= 2
    words = [f"{role} {_shape(port)}".strip() for role, port in ports if few or role != "state"]
    return ", ".join(words if few else [*words, f"{len(states)} states"])


def _shape(port: dict[str, Any]) -> str:
    kind = "" if port["dtype"] == "float32" else f" {port['dtype']}"
    return "x".join(map(str, port["shape"])) + kind


def _show_clip(found: dict[str, Any]) -> None:
    out = console()
    out.print(f"{found['file']}: clip network, input {tuple(found['input'])}", markup=False)
    for line in _facts(found):
        out.print("  " + line, markup=False)
    table = _table(
        "\ntensors (every, delay in stream frames)",
        [
            ("tensor", "left"),
            ("op", "left"),
            ("layer", "left"),
            ("shape", "left"),
            ("every", "right"),
            ("delay", "right"),
            ("lag", "right"),
            ("sees", "right"),
        ],
    )
    for row in found["tensors"]:
        table.add_row(
            row["tensor"],
            row["op"],
            row["layer"],
            "x".join(map(str, row["shape"])),
            str(row["every"]),
            str(row["delay"]),
            str(row["lag"]),
            str(row["left"] + row["right"] + 1),
        )
    out.print(table)
    streamed = found["streamed"]
    out.print(
        f"\n{count(found['macs_per_clip'])} MACs a clip, {count(found['params'])} parameters; streamed: "
        f"{count(streamed['macs_per_frame'])} MACs a frame, {count(streamed['state_floats'])} state floats",
        markup=False,
    )
    for note in found["notes"]:
        out.print(f"  {note}", markup=False)
