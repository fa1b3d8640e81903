"""The web page: its rules in JavaScript are those in Python, what its network sees and says too, and a browser shows it."""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
from av.video.reformatter import ColorRange, Colorspace

import everyframe
import handmade
from everyframe.api import bundle
from everyframe.bundles import inline, web
from everyframe.bundles.web import PAGES
from everyframe.errors import ConversionMismatch, ModelError, UsageError
from everyframe.modelfile.file import load, metadata_of
from everyframe.modelfile.schema import EventRule, Preprocess
from everyframe.native.emit import C_FILES
from everyframe.runtime import BUILTIN
from everyframe.runtime.events import EventDetector
from everyframe.video.frame import Decoded
from everyframe.video.preprocess import normalize, prepare, resized_size
from everyframe.video.sampling import as_fps, sample
from everyframe.video.tags import Orientation
from native.emulated import node

HERE = Path(__file__).parent
SAMPLE = BUILTIN.with_name("sample.mp4")
FILES = {"model.json", "model.weights", "relaxed.wasm", "simd128.wasm"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node()
    return bundle("builtin", "web", output=tmp_path_factory.mktemp("web") / "page").path


def said(folder: Path, kind: str, given: object) -> Any:
    """What the module says under node; see node_side.mjs."""
    words = [*node(), str(HERE / "node_side.mjs"), str(folder), kind]
    done = subprocess.run(words, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_of_the_host_are_its_own() -> None:
    """The generated code has a name for every kernel: those of the file around it would clash with new ones."""
    text = (C_FILES / "wasm.c").read_text(encoding="utf-8")
    made = re.findall(
        r"^(?:EXPORT\(\w+\) |static )[^=;({]*?(\w+)(?:\[[^;]*|\(.*|;)", re.sub(r"_Alignas\(\d+\) ", "", text), re.MULTILINE
    )
    assert len(made) > 12 and all(name.startswith("host_") for name in made), made


def test_ticks_are_those_of_python() -> None:
    """Frames of every rate, trembling, lost, with the clock set back; times as a browser gives them, in microseconds."""
    rng, cases, wanted = np.random.default_rng(0), [], []
    for _ in range(120):
        live, fps = bool(rng.integers(2)), float(rng.choice([12, 12.5, 15, 25, 29.97, 30]))
        gap = 1 / as_fps(float(rng.choice([7, 10, 15, 24, 25, 29.97, 30, 60])))
        times, now = [], Fraction(0)
        for _ in range(int(rng.integers(1, 60))):
            times.append(now + rng.integers(-400, 400) * Fraction(1, 90_000) * int(rng.integers(2)))
            now += gap * int(rng.choice([1, 1, 1, 1, 2, 5, 40])) if rng.random() > 0.02 else Fraction(-3)
        frames = [Decoded(None, t, gap, i) for i, t in enumerate(times)]
        wanted.append([frame.index for frame in sample(frames, fps=fps, live=live)])
        duration = float(round(gap * 1_000_000) / 1_000_000)
        cases.append(
            {
                "fps": as_fps(fps).as_integer_ratio(),
                "live": live,
                "times": [round(float(t), 6) for t in times],
                "duration": duration,
            }
        )
    cases.append({"fps": None, "sample_every_n": 3, "times": [0.1 * i for i in range(10)]})
    assert said(PAGES, "ticks", cases) == [*wanted, [0, 3, 6, 9]]


def test_a_browser_without_simd_is_told_so(folder: Path) -> None:
    assert "no SIMD" in said(folder, "old", None)


def test_events_are_those_of_python() -> None:
    rng, cases, wanted = np.random.default_rng(0), [], []
    labels = ["none", "a", "b", "c"]
    for _ in range(100):
        rule = EventRule(
            background="none", threshold=float(rng.choice([0.4, 0.6, 0.9])), hold_steps=int(rng.integers(1, 4)),
            refractory_s=float(rng.choice([0, 0.5, 2])), rearm=float(rng.choice([0, 0.5, 0.9])),
        )  # fmt: skip
        powers = np.exp(np.cumsum(rng.normal(0, 1.5, (80, 4)), axis=0))
        rows = [(row.tolist(), i / 12) for i, row in enumerate((powers / powers.sum(1, keepdims=True)).astype(np.float32))]
        detector = EventDetector(rule, labels)
        events = [detector.update(np.array(scores), time) for scores, time in rows]
        wanted.append([event and event.index for event in events])
        cases.append({"rule": rule.model_dump(), "labels": labels, "rows": rows})
    assert any(index for row in wanted for index in row)
    assert said(PAGES, "events", cases) == wanted


def rgba(picture: np.ndarray) -> dict[str, Any]:
    """(h, w, 3) -> what a canvas gives."""
    full = np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=2)
    return {"data": base64.b64encode(full.tobytes()).decode(), "width": picture.shape[1], "height": picture.shape[0]}


def some_pictures() -> Iterator[np.ndarray]:
    """Noise, gray and of saturated colors, and slopes: larger than the network's frames, a little larger, and smaller."""
    rng = np.random.default_rng(0)
    for h, w in ((240, 320), (151, 203), (480, 640), (72, 96), (60, 80), (59, 65), (30, 40)):
        yield np.repeat(rng.integers(0, 256, (h, w, 1), np.uint8), 3, axis=2)
        yield rng.integers(0, 2, (h, w, 3), np.uint8) * np.uint8(255)
        ramp = np.add.outer(np.arange(h) * 255 // h, np.arange(w) * 128 // w) % 256
        yield np.stack([ramp, 255 - ramp, ramp // 2], axis=2).astype(np.uint8)


def within_one_level(folder: Path, preprocess: Preprocess) -> None:
    pictures = list(some_pictures())
    for picture, got in zip(pictures, said(folder, "pictures", [rgba(picture) for picture in pictures]), strict=True):
        wanted = normalize(prepare(picture, preprocess)[None], preprocess)[0]
        level = np.array([preprocess.scale / std for std in preprocess.std])[:, None, None]
        assert np.abs((np.reshape(got, wanted.shape) - wanted) / level).max() <= 1.001, picture.shape


def test_the_network_sees_what_predict_shows_it(folder: Path) -> None:
    metadata = metadata_of(load(BUILTIN))
    assert metadata is not None
    within_one_level(folder, metadata.preprocess)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_short_sides_crops_and_colors(color: str, tmp_path: Path) -> None:
    """A step model with a short side, a crop in the middle and a color order of its own."""
    preprocess = Preprocess(color=color, resize=20, crop=(12, 16), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), fps=10)
    path = handmade.brightness_step(tmp_path / "step.onnx", preprocess=preprocess)
    within_one_level(bundle(path, "web", output=tmp_path / "page").path, preprocess)


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    return [np.frombuffer(bytes(p), np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes]


def yuv(width: int, height: int, seed: int) -> av.VideoFrame:
    """Noise of levels and colors, some of them outside of RGB."""
    frame, rng = av.VideoFrame(width, height, "yuv420p"), np.random.default_rng(seed)
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.height * plane.line_size, np.uint8).tobytes())
    return frame


MATRICES = {Colorspace.ITU601: (0.299, 0.114), Colorspace.ITU709: (0.2126, 0.0722)}


def test_colors_of_a_browsers_frames_are_those_of_predict(tmp_path: Path) -> None:
    """Three planes or two, levels of television or all, either matrix, odd sizes, held in every way."""
    preprocess = Preprocess(color="rgb", resize=20, crop=(12, 16), mean=(0.4,) * 3, std=(0.3,) * 3, fps=10)
    folder = bundle(handmade.brightness_step(tmp_path / "step.onnx", preprocess=preprocess), "web", output=tmp_path / "page").path
    given, wanted = [], []
    for number, (matrix, shares) in enumerate(MATRICES.items()):
        for full, (w, h), turn in itertools.product((False, True), ((160, 120), (31, 27), (64, 21), (171, 99)), range(8)):
            frame = yuv(w, h, number)
            frame.colorspace, frame.color_range = matrix, ColorRange.JPEG if full else ColorRange.MPEG
            y, u, v = planes(frame)
            layout = 1 + turn % 2
            data = np.concatenate([y.ravel(), *((u.ravel(), v.ravel()) if layout == 1 else [np.stack([u, v], 2).ravel()])])
            as_given = {"data": base64.b64encode(data.tobytes()).decode(), "width": w, "height": h}
            given.append({**as_given, "layout": layout, "turn": turn, "shares": shares, "full": full})
            held = Orientation(bool(turn & 1), bool(turn & 2), bool(turn & 4))
            size = resized_size(*((w, h) if held.transposed else (h, w)), preprocess.resize)
            small = prepare(frame, Preprocess(resize=size[::-1] if held.transposed else size))
            wanted.append(prepare(np.ascontiguousarray(held.apply(small)), Preprocess(crop=(12, 16))))
    level = preprocess.scale / preprocess.std[0]
    for ask, got, pixels in zip(given, said(folder, "pictures", given), wanted, strict=True):
        expected = normalize(pixels[None], preprocess)[0]
        off = np.abs(np.reshape(got, expected.shape) - expected).max() / level
        assert off <= 1.001, {name: ask[name] for name in ("width", "height", "layout", "turn", "full")}


def test_colors_of_a_file_lie_where_its_encoder_put_them(folder: Path, tmp_path: Path) -> None:
    """H.264 that says what its colors are, as most encoders do, has them at the left of their pixels."""
    with av.open(str(tmp_path / "clip.mp4"), "w") as made:
        stream = made.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.options = 160, 120, "yuv420p", {"x264-params": "colormatrix=bt709"}
        made.mux(stream.encode(yuv(160, 120, 0)))
        made.mux(stream.encode(None))
    metadata = metadata_of(load(BUILTIN))
    assert metadata is not None
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frame = next(container.decode(video=0))
        data = np.concatenate([plane.ravel() for plane in planes(frame)])
        wanted = normalize(prepare(frame, metadata.preprocess)[None], metadata.preprocess)[0]
    text, shares = base64.b64encode(data.tobytes()).decode(), MATRICES[Colorspace.ITU709]
    asked = {"data": text, "width": 160, "height": 120, "layout": 1, "turn": 0, "shares": shares, "full": False}
    level = metadata.preprocess.scale / metadata.preprocess.std[0]
    left, middle = (
        np.abs(np.reshape(got, wanted.shape) - wanted).max() / level
        for got in said(folder, "pictures", [{**asked, "live": False}, {**asked, "live": True}])
    )
    assert left <= 1.001 < middle


def test_predictions_of_a_video_are_those_of_predict(folder: Path) -> None:
    """Scores at the same times, as near as one gray level lets them be; the frames come at 25 a second, the network takes 12."""
    with av.open(str(SAMPLE)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(80), strict=False)]
    small = [prepare(frame, Preprocess(resize=(60, 80))) for frame in frames]
    given = {"width": 80, "height": 60, "frames": [{"data": rgba(each)["data"], "time": i / 25} for i, each in enumerate(small)]}
    got = said(folder, "video", given)
    with everyframe.open("builtin", engine="ort") as program:
        wanted = list(program.predict(small, fps=25))
    assert [round(each["time"], 6) for each in got] == [round(each.pts_s, 6) for each in wanted]
    np.testing.assert_allclose([each["logits"] for each in got], [each.logits for each in wanted], atol=0.15)
    events = [(each.event.label, each.pts_s) for each in wanted if each.event]
    assert events and [(each["event"]["label"], each["time"]) for each in got if each["event"]] == events


class TestWhatIsWritten:
    def test_a_folder_has_all_that_a_page_needs(self, folder: Path) -> None:
        names = {path.name for path in folder.iterdir()}
        assert names >= {
            *FILES,
            "index.html",
            "page.js",
            "worker.js",
            "everyframe.js",
            "everyframe.d.ts",
            "package.json",
            "README.md",
        }
        assert json.loads((folder / "package.json").read_text())["type"] == "module"
        assert not any("{{" in path.read_text() for path in folder.rglob("*") if path.suffix in (".html", ".md", ".json"))
        for path in folder.rglob("*.*"):
            text = path.read_text() if path.suffix in (".html", ".js", ".css") else ""
            for link in re.findall(r'(?:src|href|from)[= ]"([^"#]+)"', text):
                there = re.match(r"[a-z]+:", link) or (path.parent / link).exists()
                assert there, f"{path.name} leads to {link}"
                assert not link.startswith(("http", "//")), link

    def test_one_file_holds_the_same_and_forbids_connections(self, tmp_path: Path) -> None:
        node()
        made = bundle("builtin", "web", single_file=tmp_path / "page.html", teach=False)
        text = made.path.read_text()
        assert 'id="teach.graph"' not in text and len(text) < 1.6e6, "no network to be saved, no sample"
        policy = re.search(r'Content-Security-Policy" content="([^"]*)', text)
        assert policy and "default-src 'none'" in policy[1] and "connect-src" not in policy[1] and "'self'" not in policy[1]
        assert all(f'id="{name}"' in text for name in (*FILES, "worker.js"))
        assert "{{" not in text and not re.search(r"^(import|export) ", text, re.MULTILINE)
        assert [path.name for path in tmp_path.iterdir()] == ["page.html"]

    @pytest.mark.parametrize("names", [inline.PAGE, inline.WORKER])
    def test_scripts_of_one_file_hold_what_they_import(self, names: tuple[str, ...]) -> None:
        for name in names:
            needed = re.findall(r'^import \{[^}]*\} from "\./([\w.]+)"', (PAGES / name).read_text(), re.MULTILINE)
            assert set(needed) <= set(names[: names.index(name)]), name

    def test_bytes_take_less(self, folder: Path, tmp_path: Path) -> None:
        small = bundle("builtin", "web", SAMPLE, tmp_path / "page", int8=True).path
        share = (small / "model.weights").stat().st_size / (folder / "model.weights").stat().st_size
        assert share < 0.6 and json.loads((small / "model.json").read_text())["weights"] == "int8"

    def test_weights_of_16_bits_take_less_where_they_are_near_enough(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        facts = json.loads((folder / "model.json").read_text())
        assert facts["weights"] == "int16" and 1e-6 < facts["difference"] < 1e-4
        monkeypatch.setattr("everyframe.native.check.TOLERANCE", facts["difference"] / 4)
        made = bundle("builtin", "web", output=tmp_path / "page", teach=False)
        exact = json.loads((made.path / "model.json").read_text())
        assert exact["weights"] == "fp32" and exact["difference"] < facts["difference"] / 4 and not made.notes
        sizes = [(each / "model.weights").stat().st_size for each in (folder, made.path)]
        assert sizes[0] < 0.7 * sizes[1]


def test_code_that_says_something_else_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both modules run in node over a stream before anything is written."""
    node()
    step = handmade.brightness_step(tmp_path / "step.onnx")
    assert not any("compared" in note for note in bundle(step, "web", single_file=tmp_path / "page.html").notes)
    first = web.generate

    def wrong(model: onnx.ModelProto, *given: Any, **more: Any) -> Any:
        other = onnx.ModelProto()
        other.CopyFrom(model)
        for tensor in other.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.size > 1:
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(
                        (values + np.arange(values.size).reshape(values.shape)).astype(np.float32), tensor.name
                    )
                )
        return first(other, *given, **more)

    monkeypatch.setattr(web, "generate", wrong)
    with pytest.raises(ConversionMismatch, match="disagrees"):
        bundle(step, "web", single_file=tmp_path / "wrong.html")
    assert not (tmp_path / "wrong.html").exists()


def test_what_cannot_be_a_page_is_refused(tmp_path: Path) -> None:
    clip = handmade.brightness_clip(tmp_path / "clip.onnx")
    with pytest.raises(ModelError, match="everyframe stream"):
        bundle(clip, "web", output=tmp_path / "page")
    with pytest.raises(UsageError, match="Only a web page"):
        bundle("builtin", "onnxruntime", SAMPLE, single_file=tmp_path / "page.html")
    with pytest.raises(UsageError, match="calibrated"):
        bundle("builtin", "web", output=tmp_path / "page", int8=True)
    with pytest.raises(UsageError, match="Only a web page"):
        bundle("builtin", "onnxruntime", SAMPLE, tmp_path / "page", teach=False)
    with pytest.raises(UsageError, match="Only a web page"):
        bundle("builtin", "onnxruntime", SAMPLE, tmp_path / "page", weights="int16")
    with pytest.raises(UsageError, match="kind of weights"):
        bundle("builtin", "web", output=tmp_path / "page", weights="fp16")
    with pytest.raises(UsageError, match="calibrate"):
        bundle("builtin", "onnxruntime", output=tmp_path / "page")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.onnx"]
