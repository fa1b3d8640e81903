"""The law for streams: each has its own memory. Reset equals fresh, interleaved equals alone, cut into steps in any way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import everyframe
from everyframe import modelfile
from everyframe.errors import StateError
from laws.nets import Net, nets
from laws.streaming import convert_net, difference, make_video, run_steps
from laws.tally import Tally

HEADS = ("mean", "pool", "global", "two", "time first")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


def test_streams_do_not_know_of_each_other(folder: Path) -> None:
    def law(net: Net, count: Counter) -> None:
        made = convert_net(net)
        modelfile.save(made.step, folder / "step.onnx")
        hop, delay = made.metadata.hop, made.metadata.feature_delay
        frames = (delay // hop + 5) * hop
        videos = [make_video(frames, net, seed) for seed in (0, 1)]
        with everyframe.open(folder / "step.onnx", engine="ort", threads=1) as program:
            alone = [logits(program.stream(), video, hop) for video in videos]
            host = np.stack([value.reshape(-1) for value in run_steps(made, videos[0], ()).logits[delay // hop :]])
            assert difference(alone[0], host) <= 1e-5, "not what a plain host loop gives"
            count["memory matters"] += not np.array_equal(alone[0][-1], alone[1][-1])

            one, other = program.stream(), program.stream()
            both: list[list[np.ndarray]] = [[], []]
            for t in range(0, frames, hop):  # the second starts late and is one step behind
                both[0] += said(one.step(videos[0][t : t + hop]))
                if t:
                    both[1] += said(other.step(videos[1][t - hop : t]))
            assert np.array_equal(np.stack(both[0]), alone[0]), "another stream of the program is heard"
            assert np.array_equal(np.stack(both[1]), alone[1][:-1]), "another stream of the program is heard"

            one.reset()
            assert one.frames == 0 and np.array_equal(logits(one, videos[1], hop), alone[1]), "reset is not a fresh stream"

            with pytest.raises(StateError, match="size"):
                one.step(videos[0][:hop, :, :-1])
            with pytest.raises(StateError):
                one.step(videos[0][:hop, :1])
            other.close()
            with pytest.raises(StateError, match="closed"):
                other.step(videos[0][:hop])

    tally = Tally().over(nets(heads=HEADS, channels=(3,)), 60, law)
    tally.expect(0.95)
    assert tally.counts["memory matters"] > 0.8 * tally.counts["drawn"]


def logits(stream: everyframe.Stream, video: np.ndarray, hop: int) -> np.ndarray:
    made: list[np.ndarray] = []
    for t in range(0, len(video), hop):
        prediction = stream.step(video[t : t + hop])
        assert (prediction is not None) == (stream.frames > stream.program.metadata.feature_delay)
        made += said(prediction)
    return np.stack(made)


def said(prediction: everyframe.Prediction | None) -> list[np.ndarray]:
    return [] if prediction is None else [prediction.logits]
