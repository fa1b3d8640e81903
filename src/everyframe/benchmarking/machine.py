"""What a figure was measured on: without this it means nothing."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from everyframe.runtime.engine import cores

#: packages whose versions decide about speed
PACKAGES = ("everyframe", "onnxruntime", "onnx", "numpy", "av")
#: vector instructions by the flag that /proc/cpuinfo has for them, widest first; they decide more than the name does
UNITS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON", "neon": "NEON"}


def describe(*packages: str) -> dict[str, Any]:
    """Processor, cores this process may use, memory, system, versions (also of `packages`, None where missing), load.

    load: runnable processes on the machine, mean of the last minute; well above 0 before a run, others were busy too.
    """
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (*PACKAGES, *packages)},
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def one_line(machine: dict[str, Any]) -> str:
    """`describe`'s answer as the line that stands under a table."""
    memory = f", {machine['memory_gib']:g} GiB" if machine.get("memory_gib") else ""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    load = f", load before the run {machine['load']:g}" if machine.get("load") is not None else ""
    load += " (the machine was busy)" if is_busy(machine) else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores{memory}, {machine['system']}, Python {machine['python']}; "
        f"{packages}; {machine['date']}{load}"
    )


def is_busy(machine: dict[str, Any]) -> bool:
    """True if others used the machine: CPU time still counts then, wall time of several threads hardly."""
    return (machine.get("load") or 0.0) > machine["cores"] / 2


def _cpu() -> str:
    """The processor's name and its widest vector instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not on macOS
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or facts.get("Model") or facts.get("Hardware") or platform.machine()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    unit = next((shown for flag, shown in UNITS.items() if flag in flags), None)
    return f"{name} ({unit})" if unit else name


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
