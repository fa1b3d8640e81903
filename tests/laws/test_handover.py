"""The law for streams that move to another engine in the middle: from then on it says what it would say had it run from the
beginning, bit by bit, on every kind of network that streams.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe import modelfile
from everyframe.errors import EngineError
from everyframe.runtime import Program
from everyframe.runtime.engine import Loaded
from everyframe.runtime.handover import Handover, HandoverRun, steps_until_known
from laws.nets import Net, nets
from laws.streaming import convert_net, make_video
from laws.tally import Tally

HEADS = ("mean", "pool", "global", "two", "time first")
BEFORE, AFTER = 3, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handover")


def test_a_stream_that_changes_its_engine_goes_on_as_if_it_had_always_had_it(folder: Path) -> None:
    def law(net: Net, count: Counter) -> None:
        made = convert_net(net)
        modelfile.save(made.step, folder / "step.onnx")
        steps, hop = steps_until_known(made.metadata, made.step), made.metadata.hop
        if steps is None:
            count["never"] += 1
            return
        video = make_video((BEFORE + steps + AFTER) * hop, net, 0)
        shape = [dim.dim_value for dim in made.step.graph.input[0].type.tensor_type.shape.dim]
        frames = [video[t : t + hop].reshape(shape) for t in range(0, len(video), hop)]
        with (
            Program(folder / "step.onnx", engine="ort", threads=1) as one,
            Program(folder / "step.onnx", engine="ort", threads=1) as other,
        ):
            whole = other.start()
            wanted = [whole.step(each) for each in frames]
            for needed, counted in ((steps, None), (max(1, steps // 3), "too early")):
                session = Handover(Loaded(one, "one"), needed, apart=np.inf)
                run, said = session.start(), []
                for n, each in enumerate(frames):
                    if n == BEFORE:
                        session.offer(Loaded(other, "other"))
                    said.append(run.step(each))
                    assert run.using.engine == ("other" if n >= BEFORE + needed - 1 else "one")
                same = all(map(np.array_equal, wanted, said))
                assert same or counted, f"another answer after {needed} steps"
                if counted:
                    count[counted] += not same

    tally = Tally().over(nets(heads=HEADS, channels=(3,)), 14, law)
    tally.expect(0.95)
    assert tally.counts["too early"] > 0.2 * tally.counts["drawn"], "a handover that comes too early is not seen"


class Says:
    """An engine that answers with a number, and its run; what it cannot do, it does not."""

    def __init__(self, number: float, able: bool = True) -> None:
        self.number, self.able, self.others = number, able, dict[str, np.ndarray]()

    def start(self) -> Says:
        if not self.able:
            raise EngineError("There is not enough memory for a stream.")
        return self

    def step(self, _: Any) -> np.ndarray:
        return np.full(3, self.number, np.float32)

    def reset(self) -> None:
        self.number = -self.number


class TestWhatIsOffered:
    def moved(self, better: Says, steps: int | None) -> tuple[Handover, HandoverRun]:
        session = Handover(Loaded(Says(1.0), "ort"), steps)
        run = session.start()
        session.offer(Loaded(better, "native", "2 ms a step"))
        return session, run

    def test_and_says_something_else_is_refused_for_all_streams(self) -> None:
        session, run = self.moved(Says(1.1), 2)
        assert [run.step(None)[0] for _ in range(4)] == [1.0] * 4
        assert session.now.engine == session.start().using.engine == "ort" and "something else" in session.now.reason

    @pytest.mark.parametrize("how", ["step", "reset"])
    def test_and_cannot_start_leaves_the_stream_as_it_is(self, how: str) -> None:
        session, run = self.moved(Says(1.0, able=False), 2)
        run.step(None) if how == "step" else run.reset()
        assert run.using.engine == session.now.engine == "ort" and "not enough memory" in session.now.reason
        assert run.step(None)[0] == (1.0 if how == "step" else -1.0)

    def test_waits_for_a_reset_where_the_memory_has_no_end(self) -> None:
        session, run = self.moved(Says(1.0), None)
        assert [run.step(None)[0] for _ in range(50)] == [1.0] * 50 and run.using.engine == "ort"
        run.reset()
        assert run.using.engine == "native" and session.start().using.engine == "native"

    def test_is_not_begun_again_when_only_more_is_known_of_it(self) -> None:
        better = Says(1.0)
        session, run = self.moved(better, 3)
        for n in range(3):
            session.offer(Loaded(better, "native", f"{n} ms a step"))
            run.step(None)
        assert run.using.engine == "native"
