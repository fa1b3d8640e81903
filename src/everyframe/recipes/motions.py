"""What the recipe of the built-in motion model may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from everyframe.limits import MAX_THREADS
from everyframe.modelfile.schema import Strict
from everyframe.recipes import training
from everyframe.recipes.training import Schedule, Settings, Training

NETWORK = "motionnet_1.0x"
WARMUP, CLIP = 40, 2.0  # steps; largest norm of the gradient


class Data(Strict):
    """Rendered streams. pool: those that an epoch draws from, the newest; fresh: rendered anew for every epoch; frames, fps: of a
    stream. bones, bones_beside, tight: how many of those to learn from are drawn so (`rendering.hands.scene.Shares`).
    """

    frames: int = Field(default=48, ge=16, le=512)
    fps: float = Field(default=12.0, gt=0)
    height: int = Field(default=48, ge=16)
    width: int = Field(default=64, ge=16)
    pool: int = Field(default=2000, ge=1)
    fresh: int = Field(default=600, ge=0)
    validation: int = Field(default=500, ge=1)
    bones: float = Field(default=0.2, ge=0, le=1)
    bones_beside: float = Field(default=0.2, ge=0, le=1)
    tight: float = Field(default=0.25, ge=0, le=1)


class Optimizer(Strict):
    """AdamW with a cosine from `learning_rate` to nothing; `average`: decay of the averaged weights that are kept;
    tracking: weight of the second task, following the hand; bfloat16: convolve in half precision (faster on most
    CPUs of today).
    """

    epochs: int = Field(default=12, ge=1)
    steps: int = Field(default=240, ge=1)  # an epoch
    batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    tracking: float = Field(default=0.5, ge=0)
    bfloat16: bool = True


class Teacher(Strict):
    """A network of an earlier training. weights: its checkpoint; window: of its head; network, height, width: its own, as
    those of the recipe are of the one that learns.
    """

    weights: str
    window: int = Field(default=12, ge=6, le=64)
    network: str = NETWORK
    height: int = Field(default=48, ge=16)
    width: int = Field(default=64, ge=16)


class MotionsRecipe(Strict):
    """network: a motionnet of the zoo. window: feature frames that the head averages, also T of the exported clip network. seeds:
    trainings to choose the best from, counted from first_seed. start: a checkpoint to go on from instead of random weights; of a
    network that looks at smaller pictures, too; or `builtin`, the model that ships. teachers: networks the mean of whose answers
    is learned instead of the labels (Hinton et al., Distilling the Knowledge in a Neural Network, 2015); labels: how much those
    count beside them.
    """

    name: str
    task: Literal["motions"]
    network: str = Field(default=NETWORK, pattern="^motionnet_")
    window: int = Field(default=12, ge=6, le=64)  # 6: below that some taps never see a frame within the clip
    seeds: int = Field(default=1, ge=1)
    first_seed: int = Field(default=0, ge=0, lt=2**31)
    start: str | None = None
    teachers: tuple[Teacher, ...] = ()
    labels: float = Field(default=0.0, ge=0)
    threads: int = Field(default=0, ge=0, le=MAX_THREADS)  # 0: torch's default
    data: Data = Data()
    optimizer: Optimizer = Optimizer()

    def settings(self) -> Settings:
        """What the training of its first seed is told."""
        o = self.optimizer
        return Settings(
            optimizer=training.Optimizer(
                kind="adamw", learning_rate=o.learning_rate, weight_decay=o.weight_decay, decay_all=True, clip=CLIP
            ),
            schedule=Schedule(kind="cosine", warmup=WARMUP / o.steps),
            training=Training(
                epochs=o.epochs, batch=o.batch, precision="bf16" if o.bfloat16 else "f32", average=o.average,
                seed=self.first_seed, threads=self.threads,
            ),
        )  # fmt: skip
