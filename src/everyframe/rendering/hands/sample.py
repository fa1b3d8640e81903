"""The clip shipped with the package: every motion once, performed by a rendered person, with its truth beside it.

python -m everyframe.rendering.hands.sample OUT.mp4      # writes OUT.mp4 and OUT.json
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av import VideoStream

from everyframe.rendering import backgrounds
from everyframe.rendering.hands import actors
from everyframe.rendering.hands.motions import LABELS, SWIPES, TURNS, Script, circle, swipe, wave
from everyframe.rendering.hands.scene import Arm, Style, render

SIZE = (240, 320)  # height, width
FPS = 25
SEED = 3
ORDER = ("swipe_left", "swipe_right", "wave", "circle_clockwise", "swipe_up", "swipe_down", "circle_counterclockwise")


# where the hand is raised to before each motion, (x, y) in frame heights
PLACES = {
    "swipe_left": (-0.38, 0.05),
    "swipe_right": (0.36, 0.05),
    "swipe_up": (-0.2, 0.3),
    "swipe_down": (-0.22, -0.22),
    "wave": (-0.22, 0.0),
    "circle_clockwise": (-0.1, 0.1),
    "circle_counterclockwise": (-0.15, 0.1),
}


def performance(rng: np.random.Generator) -> Script:
    """Each motion of ORDER once: the hand comes up, performs, goes down out of sight, and rests."""
    script = Script(rng, (-0.3, 0.85))
    script.hold(0.5)
    for label in ORDER:
        x, y = PLACES[label]
        script.at = np.array([x, 0.85])  # out of sight, so it may be anywhere
        script.go((x, y), 0.95 + 0.7 * (0.3 - y), bow=0.1)
        script.hold(0.35)
        if label in SWIPES:
            swipe(script, label, amplitude=0.75 if SWIPES[label][0] else 0.5, seconds=0.4, here=True)
        elif label in TURNS:
            circle(script, label, turns=2.0, period_s=0.8, here=True)
        else:
            wave(script, label, periods=3.5, period_s=0.5, here=True)
        script.hold(0.65)
        script.go((script.at[0] * 0.8 - 0.05, 0.85), 1.0, bow=0.1)
        script.hold(0.2)
    return script


def _dress(people: list[actors.Person], arms: list[Arm]) -> None:
    """Fixed looks, so that the picture is easy on the eye whatever was drawn."""
    person = people[-1]
    person.size = 0.3
    person.at = person.at * 0.3 + np.array([0.05, 0.0])
    person.tones = np.array([0.72, 0.16, 0.34, 0.12])
    person.cloth = None
    look = arms[-1].look
    look.shape, look.narrow, look.spread, look.edge, look.skin, look.sleeve = "open", 0.9, 1.0, 0.3, 0.78, 0.27
    look.bare, look.texture, look.light, look.left = False, None, 0.05, True
    arms[-1].anchor, arms[-1].upright, arms[-1].offset, arms[-1].bend = person.shoulder(-1), 0.6, 0.0, -0.6


def make(size: tuple[int, int] = SIZE, fps: float = FPS) -> tuple[np.ndarray, dict]:
    """(n, H, W) uint8 and the truth that goes into the JSON file."""
    rng = np.random.default_rng(SEED)
    script = performance(rng)
    times = np.arange(int(script.seconds * fps)) / fps
    style = Style(person=True, lean=0.012, size=0.15, exposures=5, shutter=0.6, anchor="shoulder", clean=True)
    video = render(rng, script, times, size, style, _dress, backgrounds.room)
    grain = rng.normal(0, 1.5, (5, *size))
    video = np.stack([np.clip(frame + grain[i % 5], 0, 255) for i, frame in enumerate(video)]).astype(np.uint8)
    truth = {
        "fps": fps,
        "width": size[1],
        "height": size[0],
        "frames": len(video),
        "labels": list(LABELS),
        "note": "rendered; labels as the user sees them (mirrored)",
        "intervals": [{"label": i.label, "start_s": round(i.start_s, 3), "end_s": round(i.end_s, 3)} for i in script.intervals],
    }
    return video, truth


def write(path: Path) -> None:
    """H.264 (MPEG-4 where x264 is missing) and the JSON beside it."""
    video, truth = make()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=Fraction(FPS)))
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "26", "preset": "slow"}
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode())
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
