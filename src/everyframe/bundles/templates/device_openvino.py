"""The network in OpenVINO."""

import sys
from pathlib import Path

CONSENT = Path.home() / "intel" / "openvino_telemetry"  # "1" once the user ran `opt_in_out --opt_in`


class Device:
    def __init__(self, path, inputs, outputs):
        if not (CONSENT.is_file() and CONSENT.read_text().strip() == "1"):
            # not to be imported: OpenVINO would report that it was loaded
            sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self.request = openvino.Core().compile_model(path, "CPU").create_infer_request()
        self.outputs = outputs

    def run(self, feed):
        self.request.infer(feed)
        return {name: self.request.get_tensor(name).data.copy() for name in self.outputs}
