"""Videos by POST, and what else is asked over HTTP, of a real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import uuid
from fractions import Fraction
from pathlib import Path

import av
import pytest

import everyframe
import handmade
from everyframe.runtime import BUILTIN
from serving.clients import Server, until

SAMPLE = BUILTIN.with_name("sample.mp4")


def test_what_is_there_is_told(near: Server) -> None:
    status, told = near.ask("GET", "/v1/models")
    assert status == 200 and [model["name"] for model in told["models"]] == ["builtin", "step"]
    assert near.ask("GET", "/v1/model")[1] == told["models"][0]
    with everyframe.open("builtin", engine="ort") as program:
        assert tuple(told["models"][0]["labels"]) == program.labels and told["models"][0]["rate"] == program.rate
    assert near.ask("GET", "/healthz") == near.ask("GET", "/readyz") == (200, {"status": "ok"})
    assert str(near.ready["folder"]) not in json.dumps(told)
    status, problem = near.ask("GET", "/v1/model?model=bultin")
    assert status == 404 and problem["error"]["hint"] == "did you mean builtin?"
    assert near.ask("GET", "/v1/nothing")[1]["error"]["hint"] and near.ask("PUT", "/v1/models")[0] == 405


@pytest.mark.parametrize("kind", ["video/mp4", "multipart/form-data; boundary=B"])
def test_who_leaves_in_the_middle_of_a_video_is_no_error_of_the_server(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = handmade.brightness_step(tmp_path / "step.onnx")
    with everyframe.serve(model, engine="ort", port=0, wait=False) as server:
        port = int(server.addresses[0].split("/")[2].rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 100000\r\n\r\n"
            client.sendall(head.encode() + b"--B\r\n")
            client.shutdown(socket.SHUT_WR)
            while client.recv(1024):
                pass
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/metrics"])
def test_head_says_what_get_would(near: Server, path: str) -> None:
    """As what watches servers asks."""
    told = []
    for method in ("HEAD", "GET"):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", near.port)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            told.append((answer.status, answer.headers["content-type"], answer.read()))
    assert told[0] == (200, told[1][1], b"") and told[1][2]


def test_a_video_has_the_answers_of_predict(near: Server) -> None:
    with everyframe.open("builtin", engine="ort", threads=1) as program:
        wanted = [prediction.to_dict() for prediction in program.predict(SAMPLE)]
    limit = uuid.uuid4().hex
    head = f'--{limit}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    form = head.encode() + SAMPLE.read_bytes() + f"\r\n--{limit}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={limit}"}
    status, lines = near.ask("POST", "/v1/predict", form, kind)
    end = lines.pop()
    assert status == 200 and end["complete"] and end["predictions"] == len(lines) == len(wanted)
    assert end["events"] == sum("event" in prediction for prediction in wanted) > 0
    for line, prediction in zip(lines, wanted, strict=True):
        assert line.pop("type") == "prediction" and line.pop("step_ms") >= 0
        assert line == json.loads(json.dumps(prediction))


def video(path: Path, size: int) -> Path:
    """One frame of so many pixels a side, which compresses to nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(5))
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame(size, size, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def test_what_is_no_video_is_refused(near: Server, tmp_path: Path) -> None:
    """By its kind, and never with a place on this machine. Nothing is opened that a video names."""
    secret = handmade.write_video(tmp_path / "secret.mp4", 12)
    bodies = {
        "a playlist": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "a list of files": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "a session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "pixels without end": video(tmp_path / "large.mp4", 4096).read_bytes(),
    }
    for what, body in bodies.items():
        status, problem = near.ask("POST", "/v1/predict", body)
        assert status == 422 and problem["error"]["kind"] == "SourceError", (what, problem)
        assert problem["error"]["where"] == "the video" and "/" not in (problem["error"]["got"] or ""), (what, problem)
    assert near.ask("POST", "/v1/predict", b"")[0] == 400
    assert near.ask("POST", "/v1/predict?top_k=0", b"x")[0] == 422
    assert near.ask("POST", "/v1/predict?model=none", b"x")[0] == 404


def test_counters_are_read_by_prometheus(near: Server) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="needs the package prometheus_client")
    near.ask("POST", "/v1/predict", handmade.write_video(near.ready["folder"] / "v.mp4", 8).read_bytes())
    status, text = near.ask("GET", "/metrics")
    found = {family.name: family for family in parser.text_string_to_metric_families(text)}
    wanted = {"everyframe_serve_predictions", "everyframe_serve_step_seconds", "everyframe_serve_streams"}
    assert status == 200 and wanted <= set(found)
    steps = (each for each in found["everyframe_serve_step_seconds"].samples if each.labels["model"] == "builtin")
    buckets = [each.value for each in steps if each.name.endswith("_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] > 0


def test_decoders_end_with_their_requests(near: Server) -> None:
    """Also where nobody waits for the answer any more, and no file is left."""

    def children() -> int:
        done = subprocess.run(["ps", "--ppid", str(near.process.pid), "-o", "pid="], capture_output=True, text=True, check=False)
        return len(done.stdout.split())

    import socket

    body = SAMPLE.read_bytes()
    with socket.create_connection(("127.0.0.1", near.port)) as client:
        head = f"POST /v1/predict?only=events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    until(lambda: children() == 0)
