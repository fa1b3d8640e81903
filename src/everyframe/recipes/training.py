"""What a recipe for labeled clips may say: one class a section, every key with its default.

Values that contradict each other are refused here, before any work. `reader.py` reads the files.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from everyframe.limits import MAX_SEED, MAX_THREADS
from everyframe.modelfile.schema import Preprocess, Strict
from everyframe.recipes.search import Search


class ModelSection(Strict):
    """[model]: the network to train, by its name in the zoo.

    frames, size (height, width), in_channels, options: as `everyframe.models.create` takes them; default: the published
    ones, with as many channels as `preprocess.color` has. weights: a published tag or a file to begin with; its classifier
    is replaced where the number of classes differs; empty, as `--set model.weights=` says it: random ones. train: `head` trains
    the classifier alone and freezes everything before it, the statistics of BatchNorm too. dropout: instead of the network's own.
    """

    name: str
    frames: int | None = Field(default=None, ge=1)
    size: int | tuple[int, int] | None = None
    weights: str | None = None
    train: Literal["all", "head"] = "all"
    dropout: float | None = Field(default=None, ge=0, lt=1)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("weights")
    @classmethod
    def _named(cls, weights: str | None) -> str | None:
        return weights or None


class Data(Strict):
    """Where the clips lie and what they are.

    format: how they are listed, a name of `everyframe.data.formats`. root: their folder, relative to the recipe.
    train, validation: the lists of each split where the format has lists, relative to root. labels: the file with the
    names of the classes where they are not in the lists. holdout: the share of each class that is held out where there
    is no validation split. broken: what happens to clips that cannot be read. cache: keep small decoded clips on disk;
    None decides by their size. short_side: of cached pictures; None: a seventh more than the network's.
    """

    format: str = "folders"
    root: str = "."
    train: str | None = None
    validation: str | None = None
    labels: str | None = None
    holdout: float = Field(default=0.2, gt=0, lt=1)
    broken: Literal["skip", "refuse"] = "skip"
    cache: bool | None = None
    short_side: int | None = Field(default=None, ge=8)
    workers: int | None = Field(default=None, ge=0)


class Sampling(Strict):
    """Which frames of a video make a clip.

    kind: `clip` takes frames in a row, every `stride`-th, from a random place (validation: the middle); `segments` one
    frame of each of as many equal parts as the clip has frames (TSN, arXiv:1608.00859), a random one (validation: the
    middle). Videos that are too short are repeated from their beginning (loop) or hold their last frame (hold).
    """

    kind: Literal["clip", "segments"] = "clip"
    stride: int = Field(default=1, ge=1)
    short: Literal["loop", "hold"] = "loop"


class Augment(Strict):
    """What training does to a clip, the same in all of its frames.

    crop: the network's aspect at one of `scales` of the largest that fits, at a random place, at a random one of five
    (corners and center), or in the center, resized to the network's size. flip: half of the clips are mirrored; swap: pairs
    of labels that a mirror exchanges. A data set with labels that tell left from right needs `swap`, be it empty.
    rotate: degrees, either way. speed: playback is up to so many times faster or slower. brightness, contrast, saturation,
    hue: the widest change, as a share.
    """

    crop: Literal["random", "corner", "center"] = "random"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    swap: tuple[tuple[str, str], ...] | None = None
    rotate: float = Field(default=0.0, ge=0, le=180)
    speed: float = Field(default=1.0, ge=1, le=4)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _possible(self) -> Augment:
        if not self.scales or any(not 0.05 <= scale <= 1 for scale in self.scales):
            raise ValueError("scales must be shares of the short side, 0.05 to 1")
        if self.swap and not self.flip:
            raise ValueError("swap exchanges labels of mirrored clips, so flip must be true")
        return self


class Optimizer(Strict):
    """learning_rate: for one whole batch (all processes, accumulation included). clip: largest norm of the gradient.
    decay_all: weight decay for norms and biases too, as SGD recipes have it; None: with sgd only.
    """

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    dampening: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=1e-3, ge=0)
    decay_all: bool | None = None
    clip: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Optimizer:
        if self.nesterov and (self.dampening or not self.momentum):
            raise ValueError("nesterov needs momentum and no dampening")
        return self


class Schedule(Strict):
    """How the learning rate falls: `cosine` to nothing; `steps`: times `factor` after each of these epochs; `plateau`:
    times factor when the validation loss has not fallen for `patience` epochs, `drops` times, and one more such wait ends
    the training; `constant`. warmup: epochs of rising from a hundredth.
    """

    kind: Literal["cosine", "steps", "plateau", "constant"] = "cosine"
    steps: tuple[int, ...] = ()
    factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=10, ge=1)
    drops: int = Field(default=3, ge=1)
    warmup: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Schedule:
        if (self.kind == "steps") != bool(self.steps):
            raise ValueError("steps lists the epochs after which the rate falls, and belongs to kind = 'steps'")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("steps must rise")
        return self


class Training(Strict):
    """batch: clips a step in all, over processes and accumulation; accumulate: in so many parts, one after another.
    precision: bf16 and f16 are mixed precision; auto is bf16 where the hardware computes in it, else f32. average: decay of the
    averaged weights (EMA), which are then the ones kept. channels_last: None: for convolutions on CPU and GPU alike. seed: of
    weights, order and augmentation. validate_every: epochs between validations. checkpoint_minutes: between checkpoints within
    an epoch.
    """

    epochs: int = Field(default=60, ge=1)
    batch: int = Field(default=16, ge=1)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["auto", "f32", "bf16", "f16"] = "f32"
    average: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    channels_last: bool | None = None
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    threads: int = Field(default=0, ge=0, le=MAX_THREADS)
    validate_every: int = Field(default=1, ge=1)
    checkpoint_minutes: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Training:
        if self.batch % self.accumulate:
            raise ValueError("batch must be a multiple of accumulate")
        return self


class Distillation(Strict):
    """Soft targets of a teacher beside the labels (arXiv:1503.02531): loss = (1 - weight) * labels + weight * T^2 * KL at
    temperature T. teacher: the run folder of a finished training with the same classes. stop_before_end: the last epochs learn
    from the labels alone.
    """

    teacher: str
    temperature: float = Field(default=3.0, gt=0)
    weight: float = Field(default=0.5, gt=0, le=1)
    stop_before_end: int = Field(default=0, ge=0)


class Surrogate(Strict):
    """Pretraining without labels (Exemplar-CNN, arXiv:1406.6909): `seeds` short clips, chosen where most moves, are one
    class each; the augmentation makes their members. backwards: so are the same clips played backwards, which no single
    picture tells from them.
    """

    seeds: int = Field(default=200, ge=2)
    backwards: bool = False

    @property
    def classes(self) -> int:
        return self.seeds * (2 if self.backwards else 1)


class Settings(Strict):
    """What every training is told, whatever it learns from: the loop takes nothing else of a recipe. unit: what that is."""

    unit: ClassVar[str] = "clips"

    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.schedule.kind == "steps" and self.schedule.steps[-1] >= self.training.epochs:
            raise ValueError("schedule.steps must lie before the last epoch")
        return self


class ClipRecipe(Settings):
    """A training on labeled clips. paper, time: where it comes from and what it took, for people.

    preprocess: from a decoded frame to the network's input, as in the deployable file; default, also of what a table without
    a size leaves out: the network's own with its resize and crop fitted to `model.size`. speed of sampling
    (`fps` or `sample_every_n`) belongs there. search: what `everyframe search` chooses from and how; training leaves it.
    """

    name: str
    task: Literal["clips"] = "clips"
    paper: str = ""
    time: str = ""
    model: ModelSection
    data: Data = Data()
    preprocess: Preprocess | None = None
    sampling: Sampling = Sampling()
    augment: Augment = Augment()
    distillation: Distillation | None = None
    surrogate: Surrogate | None = None
    search: Search | None = None

    @model_validator(mode="after")
    def _possible(self) -> ClipRecipe:
        if self.surrogate and (self.distillation or self.model.train == "head"):
            raise ValueError("surrogate classes are for pretraining the whole network, without a teacher")
        if self.search and (self.surrogate or self.distillation or self.model.train == "head"):
            raise ValueError("whole networks are searched, with labels: leave out surrogate, distillation and model.train")
        return self
