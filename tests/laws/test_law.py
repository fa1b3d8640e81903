"""The law: streaming a video from its first frame gives, for every frame of every wire whose right context is complete, what
the clip network gives when it is run once over the whole video seen so far.

Left padding as in the clip, no right edge, squeeze-and-excite as in the stream (each frame, or the last T that exist), and
the network after dead taps are cut. Random networks (nets.py); the reference is the same network written for the longer
video, run by onnxruntime without optimization (streaming.py). EVERYFRAME_FUZZ=5000 draws that many new ones for each test.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from everyframe.conversion.verify import verify
from laws.layers import Branches, Conv, Gate
from laws.nets import Net, nets
from laws.streaming import (
    TOLERANCE,
    NotComparable,
    check,
    check_prepared,
    convert_net,
    difference,
    expect,
    make_video,
    run_steps,
)
from laws.tally import Tally


def test_every_frame_of_every_wire() -> None:
    """Values, the schedule (frame j as soon as its delay allows, not later), causality, logits from the promised step on."""

    def law(net: Net, count: Counter) -> float:
        return check(net, convert_net(net), count)

    tally = Tally().over(nets(), 450, law)
    tally.expect(every_row=5)
    assert tally.counts["frames"] > 20 * tally.counts["drawn"] and tally.counts["logits"] > 3 * tally.counts["drawn"]


def test_dense_streams() -> None:
    """rate="dense": phase 0 is the strided network exactly; so is every other phase once its receptive field is off the start."""

    def law(net: Net, count: Counter) -> float:
        count["strided"] += net.hop > 1
        return check(net, convert_net(net), count)

    tally = Tally().over(nets(rate="dense"), 200, law)
    tally.expect()
    assert tally.counts["strided"] > 0.25 * tally.counts["drawn"] and tally.counts["phases"] >= tally.counts["strided"]


def test_nothing_before_the_beginning_is_read() -> None:
    """Where nothing is padded, no state may matter before its frames have come: NaN in all of them changes nothing."""

    def law(net: Net, count: Counter) -> float:
        made = convert_net(net)
        count["with states"] += any(s.dtype == "float32" for s in made.metadata.states)
        return check(net, made, count, initial=math.nan)

    tally = Tally().over(nets(padless=True), 150, law)
    tally.expect()
    assert tally.counts["with states"] > 0.25 * tally.counts["drawn"]


def test_heads_with_shorter_and_longer_windows() -> None:
    """--window n: the mean of the newest n frames, of those that exist; two heads of different rates meet in time."""

    def law(net: Net, count: Counter) -> float:
        count["longer"] += net.window is not None and net.window > net.T
        count["two heads"] += net.head.kind == "two"
        return check(net, convert_net(net), count)

    tally = Tally().over(nets(heads=("mean", "pool", "global", "time first", "two", "two")), 150, law)
    tally.expect()
    assert min(tally.counts["longer"], tally.counts["two heads"]) > 0.05 * tally.counts["drawn"]


def test_what_is_older_than_the_receptive_field_is_forgotten() -> None:
    """Whatever came before the frames that can influence a prediction, it is the same prediction."""

    def law(net: Net, count: Counter) -> None:
        made = convert_net(net)
        meta = made.metadata
        fact = made.facts[made.clip.graph.output[0].name]  # of the first frame a prediction is for, it sees `left` before
        expect(meta.receptive_field == fact.left + fact.right + 1, "receptive field")
        heads = [(made.facts.head(node), made.facts[node.inputs[0]]) for node in made.facts.heads]
        span = max(((head.frames - 1 + head.wait) * wire.spacing for head, wire in heads), default=0)
        seen = meta.hop + meta.feature_delay + span + max(0, fact.left)
        steps = -(-seen // meta.hop) + 6
        video = make_video(steps * meta.hop, net)
        other, old = video.copy(), len(video) - seen
        other[:old] = make_video(old, net, seed=1)
        a, b = (run_steps(made, frames, ()).logits for frames in (video, other))
        if not np.isfinite(a[-1]).all():
            raise NotComparable("the network's values are not finite")
        expect(difference(b[-1], a[-1]) <= TOLERANCE, f"frames before the last {meta.receptive_field} are remembered")
        count["something else before"] += not np.array_equal(a[steps // 2], b[steps // 2])

    for rate in ("native", "dense"):
        tally = Tally().over(nets(rate=rate), 80, law)
        tally.expect(0.95)
        assert tally.counts["something else before"] > 0.5 * tally.counts["drawn"]


def test_dead_taps() -> None:
    """--taps trained: taps that only ever met padding are gone, exactly for a clip of T frames, and the law holds without
    them; --taps all: they live."""

    def law(net: Net, count: Counter) -> float:
        made = convert_net(net)
        expect(net.taps == "trained" or not made.notes, "taps were cut")
        count["cut"] += bool(made.notes)
        check_prepared(net, made)
        both = convert_net(replace(net, taps="all"))
        expect(made.metadata.feature_delay <= both.metadata.feature_delay, "cutting taps makes it later")
        return check(net, made, count)

    tally = Tally().over(nets(frames=2, rows=(Branches, Branches, Conv, Gate), taps=("trained", "trained", "all")), 120, law)
    tally.expect()
    assert tally.counts["cut"] > 0.08 * tally.counts["drawn"]


def test_the_converter_checks_itself_as_strictly() -> None:
    """`verify`, which every conversion runs before anything is written, has its own way to a reference: it must agree."""

    def law(net: Net, count: Counter) -> float:
        return verify(convert_net(net))  # raises beyond 1e-5, or three times the noise floor

    for rate in ("native", "dense"):
        Tally().over(nets(rate=rate), 80, law).expect(0.95)
