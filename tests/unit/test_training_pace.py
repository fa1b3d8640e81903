"""How fast a training is, when it will end, and what it lacked where the clock ended it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from everyframe.progress import Log, duration
from everyframe.training.progress import Pace, Progress


def test_a_pace_says_when_it_ends_and_what_the_clock_cuts_off() -> None:
    pace = Pace(epochs=10, steps=4, batch=8, unit="clips")
    pace.begin(epoch=2, step=0, seconds=500.0, minutes=None)
    assert pace.outlook() == "waiting for the first step" and pace.shortfall("training.epochs") == ()
    for second in (510, 520, 530, 540):
        pace.stepped(second)
    assert pace.done == 3 and pace.outlook() == "0.8 clips/s, ends in 4.7 min"  # 28 steps of 10 s
    pace.minutes = 1.0
    assert pace.outlook() == "0.8 clips/s, ends in 20 s with 3.5 of 10 epochs" and pace.shortfall("x") == ()
    pace.stepped(550)
    pace.stepped(560)
    (said,) = pace.shortfall("training.epochs")
    assert said == "3.5 of 10 epochs: at this speed all of them take 6.7 min; give it --minutes 7, or --set training.epochs=4"
    pace.begin(epoch=3, step=2, seconds=560.0, minutes=1.0)
    pace.stepped(570)
    assert not pace.shortfall()
    pace.validated(621)  # the clock ran out there
    assert pace.shortfall() == ("3.8 of 10 epochs: at this speed all of them take 6.7 min",)
    assert "--set" not in pace.shortfall(trainings=3)[0] and "take 20 min" in pace.shortfall(trainings=3)[0]
    assert [duration(s) for s in (0.4, 80, 100, 5400, 30_000, 400_000)] == [
        "0.4 s",
        "80 s",
        "1.7 min",
        "1.5 h",
        "8.3 h",
        "4.6 days",
    ]


def test_a_log_hears_of_a_training_within_its_first_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps of 5 s: how fast it is and when it ends, long before the first epoch of it does."""
    pace, now = Pace(epochs=120, steps=400, batch=8, unit="scans"), 0.0
    pace.begin(epoch=0, step=0, seconds=0.0, minutes=60)
    with Progress(pace, shown=True) as shown:
        shown.told = Log(lambda: now)
        for step in range(1, 13):
            pace.stepped(now := 5.0 * step)
            shown.step(0, step, loss=1.5, share=now / 3600)
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "epoch 1 of 120, step 4 of 400, loss 1.500; 1.6 scans/s, ends in 60 min with 1.8 of 120 epochs"
