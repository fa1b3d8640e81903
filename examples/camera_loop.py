"""Your own loop: you have the frames (from a camera, a robot, another program), everyframe has the memory.

    python examples/camera_loop.py builtin /dev/video0

Here PyAV reads the frames; anything that gives uint8 RGB arrays will do. `program.predict(0)` would do all of this in
one line, in a separate process and without ever falling behind; write a loop where the frames are already yours.
"""

from __future__ import annotations

import argparse
import sys

import av

import everyframe


def main(model: str, source: str) -> None:
    with everyframe.open(model) as program, program.stream() as stream, av.open(source) as camera:
        for frame in camera.decode(video=0):
            # every frame with its time, whatever the camera's rate: the stream takes those that the network wants
            prediction = stream.push(frame.to_ndarray(format="rgb24"), pts_s=frame.time)
            if prediction is None:
                continue  # it has not seen enough yet
            best = prediction.top[0]
            print(f"{prediction.pts_s:8.2f} s  {best.label:<24} {best.score:.2f}  {prediction.latency_ms:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a step or clip model, or builtin")
    parser.add_argument("source", help="a video, or what PyAV opens as a camera")
    try:
        main(**vars(parser.parse_args()))
    except everyframe.EveryframeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        pass
