"""What requests share."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from everyframe.serving.cameras import Watched
from everyframe.serving.gate import Policy
from everyframe.serving.limits import Limits
from everyframe.serving.metrics import Metrics
from everyframe.serving.pages import Browsers
from everyframe.serving.shelf import Shelf
from everyframe.serving.stepper import Stepper
from everyframe.serving.uploads import Upload


@dataclass
class State:
    """stopping, stopped: the same, for threads and for the event loop."""

    shelf: Shelf
    stepper: Stepper
    policy: Policy
    limits: Limits
    cameras: dict[str, Watched] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    browsers: Browsers = field(default_factory=Browsers)
    stopping: threading.Event = field(default_factory=threading.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    uploads: int = 0  # that come, or are looked at
    looking: set[Upload] = field(default_factory=set)  # those that are looked at

    def stop(self) -> None:
        """What has come is still answered; nothing new is taken."""
        self.stopping.set()
        self.stopped.set()
