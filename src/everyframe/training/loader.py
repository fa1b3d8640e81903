"""Batches of clips for training and evaluation, the same whatever number of worker processes, ranks and parts makes them.

What they are of is a job: a list of labeled clips, or another data set. What a clip looks like depends on (seed, epoch, its
number) and on nothing else, and the order of an epoch on (seed, epoch).
Workers hand over uint8; `normalize` makes the network's float32 of it, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from everyframe.data import sampling
from everyframe.data.cache import Store, choose
from everyframe.data.clips import Clip, Collection
from everyframe.data.mirrored_labels import mirrored
from everyframe.data.views import cut, named
from everyframe.data.workers import Pool
from everyframe.errors import RecipeError, SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import Augment, ClipRecipe, Sampling
from everyframe.runtime.engine import cores
from everyframe.training import augment


@dataclass(frozen=True)
class Batch:
    """frames: (N, T, H, W, C) uint8. labels: (N,) int64, or what else the job says of a clip, stacked. clips: their numbers.
    step: the optimizer's, within the epoch. share: of the clips of that step which are in this part; parts of a step add up to
    1 over all ranks. last: this is the step's last part on this rank.
    """

    frames: Tensor
    labels: Any
    clips: tuple[int, ...]
    step: int
    share: float
    last: bool


class Job(Protocol):
    """A data set: key -> ((T, H, W, C) uint8, label), or the SourceError of a clip that cannot be read. A label is a number, an
    array, or a dictionary of them. The key is (epoch, number) in training, where an incomplete last batch is left out, and else
    the number. unit: what its clips are called in messages.
    """

    training: ClassVar[bool]
    unit: ClassVar[str]

    def __len__(self) -> int:
        """Clips of an epoch."""

    def __call__(self, key: Any, /) -> tuple[np.ndarray, Any] | SourceError: ...

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of an epoch's clips."""

    def name(self, number: int) -> object:
        """What a clip is called in messages."""


def training_geometry(preprocess: Preprocess, size: tuple[int, int], short_side: int | None) -> Preprocess:
    """How pictures are kept for training: as in prediction, but uncropped, every frame, and the short side as asked or so
    that at least a seventh is left beyond the network's. A resize to a fixed shape keeps that shape.
    """
    resize = preprocess.resize
    wanted = short_side or -(-min(size) * 8 // 7)
    if isinstance(resize, int):
        resize = short_side or max(resize, wanted)
    elif resize is not None:
        low = min(resize)
        wanted = short_side or max(low, wanted)
        resize = (round(resize[0] * wanted / low), round(resize[1] * wanted / low))
    else:
        resize = short_side
    return preprocess.model_copy(update={"crop": None, "resize": resize, "sample_every_n": None})


def evaluation_geometry(preprocess: Preprocess) -> Preprocess:
    """As in prediction, but uncropped: `views` cuts, in the middle exactly as prediction does."""
    return preprocess.model_copy(update={"crop": None})


class Clips:
    """Augmented training clips. item: (epoch, number) -> ((T, H, W, C) uint8, label), or the SourceError of a clip that
    cannot be read. store: of `training_geometry`. every: the stride that `preprocess.sample_every_n` asks for.
    """

    training: ClassVar = True
    unit: ClassVar = "clips"

    def __init__(
        self, clips: Sequence[Clip], store: Store, frames: int, size: tuple[int, int], how: Sampling, change: Augment,
        mirrored: Sequence[int], seed: int, every: int = 1,
    ) -> None:  # fmt: skip
        self.clips, self.store, self.frames, self.size = tuple(clips), store, frames, size
        self.how = how.model_copy(update={"stride": how.stride * every})
        self.change, self.mirrored, self.seed = change, tuple(mirrored), seed

    def __len__(self) -> int:
        return len(self.clips)

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self))

    def name(self, number: int) -> object:
        return self.clips[number].path

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        epoch, number = key
        rng = np.random.default_rng([self.seed, epoch, number + 1])  # a 0 is the same as nothing, and that is the order's
        choose = lambda count: sampling.training(count, self.frames, self.how, rng, self.change.speed)  # noqa: E731
        frames = self.store.frames(self.clips[number], choose)
        drawn = augment.draw(rng, self.change, (frames.shape[1], frames.shape[2]), self.size)
        made = augment.apply(frames, drawn, self.size, self.store.preprocess.color)
        label = self.clips[number].label
        return made, self.mirrored[label] if drawn.flip and label >= 0 else label

    def __call__(self, key: tuple[int, int]) -> tuple[np.ndarray, int] | SourceError:
        try:
            return self[key]
        except SourceError as error:
            return error


def stores(recipe: ClipRecipe, collection: Collection, preprocess: Preprocess, size: tuple[int, int]) -> tuple[Store, Store]:
    """(for training, for evaluation): one cache, or none, as `data.cache` says."""
    kept = training_geometry(preprocess, size, recipe.data.short_side)
    clips = [clip for split in collection.splits.values() for clip in split]
    folder = choose(recipe.data.cache, clips, kept)
    return Store(kept, folder), Store(evaluation_geometry(preprocess), folder)


def training_loader(
    recipe: ClipRecipe, collection: Collection, store: Store, frames: int, size: tuple[int, int],
    *, every: int = 1, broken: Callable[[SourceError], None] | None = None,
) -> Loader:  # fmt: skip
    """store: of `training_geometry`. every: `preprocess.sample_every_n`, if it has one. Raises RecipeError where a mirror
    would give clips a wrong label.
    """
    job = Clips(
        collection.splits["train"], store, frames, size, recipe.sampling, recipe.augment,
        mirrored(collection.labels, recipe.augment), recipe.training.seed, every,
    )  # fmt: skip
    return Loader(job, recipe.training.batch, accumulate=recipe.training.accumulate, workers=workers(recipe), broken=broken)


def validation_loader(
    recipe: ClipRecipe, clips: Sequence[Clip], store: Store, frames: int, size: tuple[int, int],
    broken: Callable[[SourceError], None] | None = None,
) -> Loader:  # fmt: skip
    """The middle clip of each video, in order, every one of them. store: of `evaluation_geometry`."""
    job = Middles(clips, store, frames, size, recipe.sampling)
    return Loader(job, recipe.training.batch, workers=workers(recipe), broken=broken)


def workers(recipe: ClipRecipe) -> int:
    return cores() if recipe.data.workers is None else recipe.data.workers


class Middles:
    """The middle clip of each video: number -> ((T, h, w, C) uint8, label). store: of `evaluation_geometry`."""

    training: ClassVar = False
    unit: ClassVar = "clips"

    def __init__(self, clips: Sequence[Clip], store: Store, frames: int, size: tuple[int, int], how: Sampling) -> None:
        self.clips, self.store, self.frames, self.size, self.how = tuple(clips), store, frames, size, how

    def __len__(self) -> int:
        return len(self.clips)

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(len(self))

    def name(self, number: int) -> object:
        return self.clips[number].path

    def __call__(self, number: int) -> tuple[np.ndarray, int] | SourceError:
        clip = self.clips[number]
        try:
            frames = self.store.frames(clip, lambda count: sampling.middle(count, self.frames, self.how))
            return cut(frames, self.size, "center")[0], clip.label
        except SourceError as error:
            return named(error, clip)


class Loader:
    """Batches of a split over many epochs; its worker processes live until `close`.

    batch: clips a step, over all ranks and parts. broken: called with each clip's error once; it may raise. Where no clip of a
    part of a training step can be read, the next ones of the epoch that can take its place.
    """

    def __init__(
        self, job: Job, batch: int, *, accumulate: int = 1, workers: int = 0,
        broken: Callable[[SourceError], None] | None = None,
    ) -> None:  # fmt: skip
        self.job, self.batch, self.accumulate = job, batch, accumulate
        self._broken, self._said = broken, set[int]()
        self._pool: Pool = Pool(
            job, workers, name=lambda key: job.name(key[1] if isinstance(key, tuple) else key), setup=one_thread
        )

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

    def steps(self) -> int:
        """Batches in an epoch. An incomplete one is left out of training, unless it is the only one."""
        count = len(self.job)
        return max(1, count // self.batch) if self.job.training else -(-count // self.batch)

    def batches(self, epoch: int = 0, first_batch: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """The parts of this rank, in order, from step `first_batch` on. Raises RecipeError where a step cannot be shared."""
        training = self.job.training
        if training and self.batch % (ranks * self.accumulate):
            raise RecipeError(
                "The batch cannot be shared evenly.", where="key training.batch", got=self.batch,
                expected=f"a multiple of {ranks * self.accumulate} ({ranks} processes, {self.accumulate} parts each)",
            )  # fmt: skip
        order = self.job.order(epoch)
        parts = []
        for step in range(first_batch, self.steps()):
            whole = order[step * self.batch : (step + 1) * self.batch]
            shared = np.array_split(whole, ranks * self.accumulate)
            own = [part for part in shared[rank::ranks] if len(part)]
            if not own and training:
                raise RecipeError("There are fewer clips than processes.", where="key training.batch", got=len(whole))
            parts += [(step, part, len(part) / len(whole), i == len(own) - 1) for i, part in enumerate(own)]
        keys = ((epoch, int(n)) if training else int(n) for _, part, _, _ in parts for n in part)
        # two parts are on their way while one is used
        results = self._pool.run(keys, ahead=2 * max((len(part) for _, part, _, _ in parts), default=1))
        any_read = False
        for step, part, share, last in parts:
            batch = self._batch([next(results) for _ in part], part, step, share, last)
            if batch is None and training:  # its step is taken: other ranks and parts wait for it
                batch = self._batch(*self._others(epoch, order, part), step, share, last)
            if batch is not None:
                any_read = True
                yield batch
        if parts and not any_read and ranks == 1:
            raise self._none(order)

    def _others(self, epoch: int, order: np.ndarray, part: np.ndarray) -> tuple[list, np.ndarray]:
        """As many as the part has, and their numbers: those that come after it and can be read. Raises SourceError."""
        made, numbers = list[Any](), list[int]()
        for number in np.roll(order, -1 - int(np.flatnonzero(order == part[-1])[0])).tolist():
            if number not in self._said:
                result = self.job((epoch, number))
                if isinstance(result, SourceError):
                    self._told(number, result)
                else:
                    made.append(result)
                    numbers.append(number)
            if len(made) == len(part):
                break
        if not made:
            raise self._none(order)
        return made, np.array(numbers)

    def _none(self, order: np.ndarray) -> SourceError:
        return SourceError(
            f"None of the {self.job.unit} can be read.", where=self.job.name(int(order[0])), got=f"{len(order)} {self.job.unit}"
        )

    def _told(self, number: int, error: SourceError) -> None:
        self._said.add(number)
        if self._broken is None:
            raise error
        self._broken(error)

    def _batch(self, made: list, numbers: np.ndarray, step: int, share: float, last: bool) -> Batch | None:
        good = []
        for result, number in zip(made, numbers, strict=True):
            if not isinstance(result, SourceError):
                good.append((*result, int(number)))
            elif number not in self._said:
                self._told(int(number), result)
        if not good:
            return None
        frames, labels, clips = zip(*good, strict=True)
        return Batch(torch.from_numpy(np.stack(frames)), default_collate(list(labels)), clips, step, share, last)


def normalize(
    frames: Tensor, preprocess: Preprocess, device: torch.device | str = "cpu", memory_format: torch.memory_format | None = None
) -> Tensor:
    """(N, T, H, W, C) uint8 -> (N, C, T, H, W) float32 on the device, the same bits as `video.preprocess.normalize`."""
    std = np.asarray(preprocess.std, np.float64)
    shape = (1, preprocess.channels, 1, 1, 1)
    factor = torch.from_numpy((preprocess.scale / std).astype(np.float32)).view(shape)
    offset = torch.from_numpy((np.asarray(preprocess.mean, np.float64) / std).astype(np.float32)).view(shape)
    moved = frames.to(device, non_blocking=True).permute(0, 4, 1, 2, 3)
    moved = moved.contiguous(memory_format=memory_format or torch.contiguous_format)
    return moved.float().mul_(factor.to(device)).sub_(offset.to(device))


def one_thread() -> None:
    """Workers share the cores among themselves."""
    torch.set_num_threads(1)
