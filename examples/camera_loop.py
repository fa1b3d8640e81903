"""Your own loop: you have the frames (from a camera, a robot, another program), everyframe has the memory.

    python examples/camera_loop.py builtin /dev/video0

Here PyAV reads the frames; anything that gives uint8 RGB arrays will do. `program.predict(0)` would do all of this in
one line, in a separate process and without ever falling behind; write a loop where the frames are already yours.
"""

from __future__ import annotations

import sys

import av

import everyframe


def main(model: str, source: str) -> None:
    with everyframe.open(model) as program, program.stream() as stream, av.open(source) as camera:
        gap_s, due_s = 1 / program.rate, 0.0  # the network wants frames at the rate it was trained with
        start_s = None
        for frame in camera.decode(video=0):
            start_s = frame.time if start_s is None else start_s
            now_s = frame.time - start_s
            if now_s < due_s - gap_s / 4:
                continue  # a frame too many
            due_s = max(due_s + gap_s, now_s)
            prediction = stream.push(frame.to_ndarray(format="rgb24"), pts_s=now_s)
            if prediction is None:
                continue  # it has not seen enough yet
            best = prediction.top[0]
            print(f"{prediction.pts_s:8.2f} s  {best.label:<24} {best.score:.2f}  {prediction.latency_ms:.1f} ms")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except everyframe.EveryframeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        pass
