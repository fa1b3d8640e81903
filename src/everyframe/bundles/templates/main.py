"""What happens in a video, said on the device: the model's events, if it has a rule for them, and the five best labels.

    python3 main.py                 the clip beside this file, video0.npy
    python3 main.py VIDEO           a video file, or the number of a camera
    python3 main.py VIDEO --every   a line for each prediction, not only the last

Needs numpy, what device.py imports, and for videos av (pip install av): with it, frames and times are those of `everyframe
predict`, whose own code is in video/. With cv2 alone mirrored pictures and clocks that jump are not seen to. model.json says
what the network takes and gives.
"""

import argparse
import json
import sys
import time
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
from device import Device
from events import Events
from video.errors import EveryframeError
from video.frame import Decoded
from video.sampling import sample

try:
    import cv2
except ImportError:
    cv2 = None
try:
    from video.decode import decode
    from video.preprocess import prepare
    from video.sources import resolve
except ImportError:  # there is no av
    decode = None

HERE = Path(__file__).resolve().parent
INFO = json.loads((HERE / "model.json").read_text(encoding="utf-8"))

# C channels, H W; a clip network takes (1, C, T, H, W), a step network (hop, C, H, W) and its states


def fail(why: object) -> NoReturn:
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


class Network:
    """The network with its states, which are zeros (or `fill`) before the first step."""

    def __init__(self, path):
        self.device = Device(str(path), INFO["inputs"], INFO["outputs"])
        self.states = {s["input"]: np.full(s["shape"], s["fill"], s["dtype"]) for s in INFO["states"]}
        self.runs, self.spent = 0, 0.0

    def __call__(self, frames):
        """Logits (classes,). A state that only repeats another takes over its array."""
        feed = {INFO["frames"]: frames, **self.states}
        begun = time.perf_counter()
        found = self.device.run({name: np.ascontiguousarray(feed[name]) for name in INFO["inputs"]})
        self.spent += time.perf_counter() - begun
        self.runs += 1
        old = self.states
        self.states = {
            s["input"]: np.asarray(found[s["output"]], s["dtype"]) if s["copy_of"] is None else old[s["copy_of"]]
            for s in INFO["states"]
        }
        return np.asarray(found[INFO["logits"]], np.float32).ravel()


def pictures(source):
    """Every frame of a file or camera, with its time. Of a camera, and where there is no av, by cv2."""
    camera = source.isdigit()
    if decode and not (camera and cv2):
        yield from decode(resolve(source)[0])
        return
    if not cv2:
        fail("videos need av or cv2: pip install av")
    video, begun = cv2.VideoCapture(int(source) if camera else source), time.monotonic()
    for number in count():
        there, picture = video.read()
        if not there:
            return
        seconds = time.monotonic() - begun if camera else video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        yield Decoded(np.ascontiguousarray(picture[:, :, ::-1]), Fraction(seconds), Fraction(0), number)


def prepared(picture):
    """(C, H, W) float32: resized, cropped in the middle, (pixel * scale - mean) / std."""
    picture = (prepare if decode else prepared_by_cv2)(picture, SimpleNamespace(**INFO)).astype(np.float32)
    return ((picture * INFO["scale"] - np.array(INFO["mean"], np.float32)) / np.array(INFO["std"], np.float32)).transpose(2, 0, 1)


def prepared_by_cv2(picture, geometry):
    """(h, w, C), nearly as `prepare` does it."""
    height, width = picture.shape[:2]
    wanted = geometry.resize
    if isinstance(wanted, int):  # the short side
        short = min(height, width)
        wanted = [(height * wanted + short // 2) // short, (width * wanted + short // 2) // short]
    if wanted and list(wanted) != [height, width]:
        how = cv2.INTER_AREA if wanted[0] < height else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (wanted[1], wanted[0]), interpolation=how)
    height, width = geometry.crop or picture.shape[:2]
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    picture = picture[top : top + height, left : left + width]
    if geometry.color == "gray":
        return np.round(picture @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None]
    return picture[:, :, ::-1] if geometry.color == "bgr" else picture


def inputs(source):
    """(seconds of the newest frame, what the network is given), run after run: of a .npy of prepared frames, or of a video."""
    if source.endswith(".npy"):
        frames = np.load(source)
        frames = frames[0].transpose(1, 0, 2, 3) if frames.ndim == 5 else frames  # (T, C, H, W)
        rate = INFO["fps"] or 30 / (INFO["sample_every_n"] or 1)
        frames = ((number / rate, frame) for number, frame in enumerate(frames))
    else:
        live = source.isdigit() or (decode is not None and resolve(source)[0].live)
        seen = sample(pictures(source), fps=INFO["fps"], every_n=INFO["sample_every_n"], live=live)
        frames = ((float(frame.pts), prepared(frame.picture)) for frame in seen)
    waiting = []
    for seconds, frame in frames:
        waiting.append(frame)
        if len(waiting) == INFO["frames_a_run"]:
            stack = np.stack(waiting).astype(np.float32)
            waiting = []
            yield seconds, stack if INFO["kind"] == "step" else stack.transpose(1, 0, 2, 3)[None]


def softmax(logits):
    scores = np.exp(logits - logits.max())
    return scores / scores.sum()


def sigmoid(logits):
    return 0.5 * (1 + np.tanh(0.5 * logits))


def same(values):
    return values


#: what the network's answer becomes: one of several classes, any of several, quantities
SCORES = {"classify": softmax, "frames": softmax, "multilabel": sigmoid, "regress": same}


def scored(logits):
    if INFO["scores"] != "logits" or INFO["task"] == "regress":
        return logits
    return SCORES[INFO["task"]](logits / np.float32(INFO["temperature"]))


def show(logits, count):
    scores = scored(logits)
    places = range(len(scores)) if INFO["task"] == "regress" else np.argsort(-scores, kind="stable")
    for place in places[:count]:
        print(f"{scores[place]:8.4f}  {INFO['labels'][place]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default=str(HERE / "video0.npy"))
    parser.add_argument("--model", default=str(HERE / INFO["file"]), help="the compiled model")
    parser.add_argument("--every", action="store_true", help="show each prediction")
    parser.add_argument("--top", type=int, default=5, help="labels shown")
    parser.add_argument("--save", metavar="FILE.npy", help="keep the last logits, to compare them")
    args = parser.parse_args()
    if not Path(args.model).exists():
        fail(f"there is no {args.model}: compile the model first, see README.md")
    network, logits, seen = Network(args.model), None, 0
    events = Events(INFO["events"], INFO["labels"]) if INFO["events"] else None
    wrong, runs = None, inputs(args.source)
    while True:
        try:
            seconds, frames = next(runs)
        except StopIteration:
            break
        except EveryframeError as error:  # what came before is good
            wrong = error
            break
        found = network(frames)
        seen += INFO["frames_a_run"]
        if seen <= INFO["feature_delay"]:  # the network has not seen enough yet
            continue
        logits = found
        happened = events(scored(logits), seconds) if events else None
        if happened is not None:
            print(f"{seconds:8.2f} s  ** {INFO['labels'][happened]} **", flush=True)
        if args.every:
            print(f"frame {seen - 1}")
            show(logits, args.top)
    if logits is None:
        fail(wrong or "the video is too short for a prediction")
    if not args.every:
        show(logits, args.top)
    if args.save:
        np.save(args.save, logits)
    took = network.spent / network.runs
    print(f"{network.runs} runs, {took * 1e3:.2f} ms each, {INFO['frames_a_run'] / took:.1f} frames a second", file=sys.stderr)
    if wrong:
        fail(wrong)


if __name__ == "__main__":
    main()
