"""The training loop: plain steps over batches, on one process or, under `torchrun`, on several.

What a step sees depends on (seed, epoch, step) alone: the order and augmentation of clips, and the dropout. So a training that
was killed and resumed ends with the same weights as one that ran through, and checkpoints need no states of generators.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from everyframe.errors import TrainingStopped
from everyframe.files import occupied
from everyframe.recipes.training import Settings
from everyframe.training import checkpoint, memory, statistics
from everyframe.training.convolutions import Fast
from everyframe.training.folder import Run
from everyframe.training.hook import Hook
from everyframe.training.loader import Batch
from everyframe.training.network import Learner, channels_last, train_mode
from everyframe.training.objective import Objective
from everyframe.training.optimize import Schedule, optimizer
from everyframe.training.precision import PRECISIONS, resolved, safe
from everyframe.training.progress import Pace, Progress

#: clips that BatchNorm's statistics are taken from before a validation
STATISTICS = 160


@dataclass
class Position:
    """How far the training is. step: steps done in this epoch; loss: their sum; seconds: of all sittings together; clock: after
    how many of them the training ends, 0 for its epochs alone; rows: one an epoch that was validated.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    clock: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Position:
        """From a checkpoint; those of 0.1 and 0.2 hold other things too, and no clock."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


def launch(settings: Settings) -> Fabric:
    """One process, or one of those that `torchrun` started."""
    if settings.training.threads:
        torch.set_num_threads(settings.training.threads)
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces what the recipe says already
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = Fabric(
        accelerator=accelerator, devices=local, num_nodes=world // local, strategy="ddp" if world > 1 else "auto",
        precision=PRECISIONS[resolved(settings.training.precision)],  # type: ignore[arg-type]
    )  # fmt: skip
    fabric.launch()
    return fabric


class Loop:
    """settings: how. objective: what for. hook: what takes part beside the loss."""

    def __init__(
        self, fabric: Fabric, run: Run, trained: Learner, objective: Objective, settings: Settings, hook: Hook | None = None
    ) -> None:
        self.fabric, self.run, self.trained, self.objective, self.settings = fabric, run, trained, objective, settings
        self.hook = hook or Hook()
        net = trained.net
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        self.forms: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
        if settings.training.channels_last is not False:
            channels_last(net)
            self.forms = Fast
        if resolved(settings.training.precision) != "f32":
            safe(net)
        self.average = copy.deepcopy(net).to(fabric.device).requires_grad_(False) if settings.training.average else None
        self.net, self.optimizer = fabric.setup(net, optimizer(net, settings.optimizer))
        self.schedule = Schedule(settings.schedule, settings.training.epochs)
        self.at = Position()
        self.pace = Pace(settings.training.epochs, objective.steps(), settings.training.batch, objective.unit)
        #: the first of the epoch's last steps, whose clips BatchNorm's statistics are taken from, and those clips
        self.last = max(0, objective.steps() - -(-STATISTICS // settings.training.batch))
        self.recent: list[Batch] = []

    @property
    def kept(self) -> nn.Module:
        """The network whose weights count: the averaged one where there is one."""
        return self.average if self.average is not None else self.net.module

    # -- from and to the run folder

    def resume(self) -> None:
        """Goes on where the last checkpoint was written, or begins if there is none."""
        state = checkpoint.load_checkpoint(self.run.path)
        if state is None:
            return
        self.net.module.load_state_dict(state["net"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"] if "optimizer" in state else state["optimiser"])  # as 0.1 spelled it
        self.schedule.load_state_dict(state["schedule"])
        self.hook.load_state_dict(state.get("hook", {}))  # older checkpoints have none
        self.at = Position.of(state["at"])

    def save(self) -> None:
        if self.fabric.is_global_zero:
            state = {
                "net": self.net.module.state_dict(),
                "average": self.average.state_dict() if self.average is not None else {},
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "hook": self.hook.state_dict(),
                "at": asdict(self.at),
            }
            checkpoint.save_checkpoint(self.run.path, state)
        self.fabric.barrier()

    # -- training

    def fit(self, minutes: float | None = None) -> bool:
        """Trains to the end and says whether it was reached. minutes: from now on, end by the clock if that is earlier; without
        them the clock of the sitting before goes on. The schedule follows epochs or clock, whichever is further.
        Ctrl-C: False, what has been validated counts; KeyboardInterrupt before that.
        """
        began, before = time.monotonic(), self.at.seconds
        if minutes:
            self.at.clock = before + minutes * 60
        whole = self.at.clock
        share = (lambda: self.at.seconds / whole) if whole else (lambda: 0.0)
        clock: Callable[[], float] = lambda: before + time.monotonic() - began  # noqa: E731
        epochs = self.settings.training.epochs
        self.pace.begin(self.at.epoch, self.at.step, before, (whole - before) / 60 if whole else None)
        with Progress(self.pace, self.fabric.is_global_zero) as progress, contextlib.ExitStack() as stack:
            stack.enter_context(memory.kept())
            if self.fabric.is_global_zero:
                stack.enter_context(occupied(self.run.path))
            events = stack.enter_context(_events(self.run, self.fabric.is_global_zero))
            try:
                while self.at.epoch < epochs and not self.schedule.over and share() < 1:
                    self._epoch(progress, clock, share)
                    last = self.at.epoch + 1 == epochs or share() >= 1
                    if (self.at.epoch + 1) % self.settings.training.validate_every == 0 or last:
                        self._validated(progress, events)
                    self.at.epoch, self.at.step, self.at.loss = self.at.epoch + 1, 0, 0.0
                    self.at.seconds = clock()
                    self.pace.validated(self.at.seconds)
                    self.save()
            except KeyboardInterrupt:
                if not self.at.rows:  # nothing has been validated, so there is nothing to finish
                    raise
                return False
        return True

    def _epoch(self, progress: Progress, clock: Callable[[], float], share: Callable[[], float]) -> None:
        train_mode(self.net.module, self.trained.head, self.trained.frozen)
        at, saved, total = self.at, time.monotonic(), 0.0
        ranks, self.recent = self.fabric.world_size, []
        if not at.step:
            epochs = self.settings.training.epochs
            self.hook.begin_epoch(self.net.module, max(share(), at.epoch / epochs), 1 / (epochs * self.objective.steps()))
        for batch in self.objective.batches(at.epoch, at.step, self.fabric.global_rank, ranks):
            if not total:
                self._begin(share())
            if batch.step >= self.last:
                self.recent.append(batch)
            total += self._learn(batch, ranks)
            if not batch.last:
                continue
            self._end(total)
            at.loss, at.step, at.seconds, total = at.loss + total, at.step + 1, clock(), 0.0
            self.pace.stepped(at.seconds)
            progress.step(at.epoch, at.step, at.loss / at.step, share())
            if share() >= 1:
                return
            if time.monotonic() - saved > self.settings.training.checkpoint_minutes * 60:
                self.save()
                saved = time.monotonic()

    def _begin(self, done: float) -> None:
        at, settings = self.at, self.settings
        torch.manual_seed(hash((settings.training.seed, at.epoch, at.step, self.fabric.global_rank)) & 0x7FFFFFFF)
        share = self.schedule.share(at.epoch + at.step / self.objective.steps(), done)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.optimizer.learning_rate * share
        self.optimizer.zero_grad()

    def _learn(self, batch: Batch, ranks: int) -> float:
        """Gradients of one part of a step; its share of the step's loss."""
        with self.fabric.no_backward_sync(self.net, enabled=not batch.last):
            with self.forms():
                loss = self.objective.loss(self.net, batch, self.settings.training.epochs - self.at.epoch)
            whole = loss
            if self.hook.penalizes:
                whole = loss + self.hook.penalty(self.net.module, self.fabric.all_reduce(loss.detach()))  # type: ignore[arg-type]
            self.fabric.backward(whole * (batch.share * ranks))  # gradients are averaged over the ranks
        return loss.item() * batch.share * ranks

    def _end(self, loss: float) -> None:
        at, settings = self.at, self.settings.optimizer
        self._finite("loss", loss)
        if settings.clip:
            norm = self.fabric.clip_gradients(self.net, self.optimizer, max_norm=settings.clip, error_if_nonfinite=False)
            if norm is not None and self.settings.training.precision != "f16":  # f16 tries scales, and skips the step
                self._finite("norm of the gradients", norm.item())
        self.optimizer.step()
        with torch.no_grad():
            self.hook.after_step(self.net.module)
            if self.average is not None:
                done = at.epoch * self.objective.steps() + at.step
                _average(self.average, self.net.module, self.settings.training.average, done)
                self.hook.after_step(self.average)

    def _finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingStopped(
                f"The {what} is not a number any more.",
                where=f"{self.run.path}, epoch {self.at.epoch + 1}, step {self.at.step + 1}",
                got=value,
                hint="lower optimizer.learning_rate or set optimizer.clip; the last checkpoint is kept",
            )

    # -- validation

    def _statistics(self) -> None:
        """Statistics of the kept weights' norms from the last clips of the epoch: running ones trail weights that move fast, and
        an early validation would measure that.
        """
        if self.trained.frozen or not statistics.norms(self.kept):
            return
        batches: Iterable[Batch] = self.recent
        if not self.recent or self.recent[0].step > self.last or self.at.step < self.objective.steps():  # resumed, or the clock's
            batches = self.objective.batches(self.at.epoch, self.last, self.fabric.global_rank, self.fabric.world_size)
        net = self.kept.eval()
        with statistics.anew(net) as found, self.fabric.autocast(), self.forms():
            for batch in batches:
                self.objective.loss(net, batch, 0)
            for value in found:
                value.copy_(self.fabric.all_reduce(value))  # type: ignore[arg-type]

    @torch.inference_mode()
    def validate(self) -> dict[str, float | None]:
        """The objective's figures of the kept weights; None where nothing is held out."""
        with self.forms():
            figures = self.objective.validate(self.kept.eval())
        return {name: _rounded(value) for name, value in figures.items()}

    def _validated(self, progress: Progress, events: Callable[[dict[str, Any]], None]) -> None:
        progress.validating()
        self._statistics()
        figures = self.validate()
        loss = figures.get("validation_loss")
        self.schedule.validated(math.nan if loss is None else loss)
        row = {
            "epoch": self.at.epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": round(self.at.loss / max(1, self.at.step), 5),
            **figures,
            **self.hook.figures(self.kept),
            "seconds": round(self.at.seconds, 1),
        }
        better = all(self.objective.rank(row) > self.objective.rank(other) for other in self.at.rows)
        self.at.rows.append(row)
        if self.fabric.is_global_zero:
            progress.line(row, better)
            events(row)
            self.run.write_epochs(self.at.rows)
            weights = self.objective.deployed(self.kept).state_dict()
            checkpoint.save_weights(self.run.path / "last.safetensors", weights)
            if better:
                checkpoint.save_weights(self.run.best, weights)


def _rounded(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None  # NaN is not JSON


def _average(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of weights and statistics; the first steps weigh more."""
    decay = min(decay, (step + 1) / (step + 10))
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


@contextlib.contextmanager
def _events(run: Run, here: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A writer of TensorBoard events."""
    if not here:
        yield lambda row: None
        return
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(run.path))

    def write(row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "epoch" and value is not None:
                writer.add_scalar(key, value, row["epoch"])

    try:
        yield write
    finally:
        writer.close()
