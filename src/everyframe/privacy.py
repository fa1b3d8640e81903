"""Nothing leaves the machine by itself: libraries that would report are told not to, before they are loaded.

onnxruntime (1.31, the wheels for Linux and macOS) keeps an identifier of the device and events in the user's cache, and uploads
facts about processes, models and hardware; OpenVINO reports each import. Both look once, while they are loaded: a call to
them comes too late. A setting of the user's own wins.
"""

from __future__ import annotations

import os
import sys

#: read by a library while it is loaded; processes that we start inherit them
VARIABLES = {"ORT_DISABLE_TELEMETRY": "1"}
#: a package of its own that only reports; OpenVINO brings a stand-in for where it is not installed
REPORTER = "openvino_telemetry"
#: where OpenVINO keeps what the user answered to its question, or said with `opt_in_out`: "1" is yes
CONSENT = "~/intel/openvino_telemetry"


def keep() -> None:
    """Turns off what reports. To be called before such a library is imported; what is loaded already stays as it is."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    if not _agreed():
        sys.modules.setdefault(REPORTER, None)  # type: ignore[arg-type]  # Python's word for: cannot be imported


def _agreed() -> bool:
    try:
        # not pathlib: it would be the slowest part of `import everyframe`
        with open(os.path.expanduser(CONSENT), encoding="utf-8") as file:  # noqa: PTH111, PTH123
            return file.read(8).strip() == "1"
    except (OSError, ValueError):
        return False
