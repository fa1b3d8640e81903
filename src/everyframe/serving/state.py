"""What requests share."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

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
    """stopping, stopped: the same, for threads and for the event loop. late: set where a request that is still in work has to say
    its last words without what it waits for.
    """

    shelf: Shelf
    stepper: Stepper
    policy: Policy
    limits: Limits
    cameras: dict[str, Watched] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    browsers: Browsers = field(default_factory=Browsers)
    stopping: threading.Event = field(default_factory=threading.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    late: asyncio.Event = field(default_factory=asyncio.Event)
    uploads: int = 0  # that come, or are looked at
    looking: set[Upload] = field(default_factory=set)  # those that are looked at

    def stop(self) -> None:
        """What has come is still answered; nothing new is taken. To be called in the event loop; again, it does nothing."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self.stopped.set()
        asyncio.get_running_loop().call_later(self.limits.stop_s / 2, self.late.set)
        for upload in self.looking:
            upload.leave()
        for watched in self.cameras.values():
            watched.camera.stop()

    def look(self, upload: Upload) -> None:
        """It is among those that are looked at."""
        self.looking.add(upload)
        if self.stopping.is_set():  # it came just then
            upload.leave()

    async def awaited(self, task: asyncio.Future[Any], seconds: float | None = None) -> bool:
        """Whether it is done, for which the server's end waits only so long."""
        late = asyncio.create_task(self.late.wait())
        try:
            await asyncio.wait((task, late), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            late.cancel()
        return task.done()
