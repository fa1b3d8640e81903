"""Which motions does a video show, and when?

    python examples/predict_file.py builtin video.mp4

Prints one line whenever another label has taken the lead, and every event of a model that has an event rule.
"""

from __future__ import annotations

import argparse
import sys

import everyframe


def main(model: str, video: str) -> None:
    leader = None
    with everyframe.open(model) as program:
        for prediction in program.predict(video):
            best = prediction.top[0]
            if best.label != leader:
                leader = best.label
                print(f"{prediction.pts_s:8.2f} s  {best.label}  {best.score:.2f}")
            if prediction.event is not None:
                print(f"{prediction.event.pts_s:8.2f} s  ** {prediction.event.label} **")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a step or clip model, or builtin")
    parser.add_argument("video", help="a video")
    try:
        main(**vars(parser.parse_args()))
    except everyframe.EveryframeError as error:
        sys.exit(f"error: {error}")
