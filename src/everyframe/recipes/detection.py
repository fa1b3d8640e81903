"""What a recipe for objects in scans may say: scans in KITTI's folders, and a network that finds boxes in them."""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from everyframe.modelfile.schema import Grid, Strict
from everyframe.recipes.pruning import Scheme
from everyframe.recipes.search import Search
from everyframe.recipes.training import Settings

#: classes that figures are known for
Name = Literal["Car", "Pedestrian", "Cyclist"]
Block = Literal["plain", "residual", "separable"]
Kernel = Literal[3, 5]


class ModelSection(Strict):
    """[model]: the network. grid: the ground that it sees. features: channels of a pillar. widths, depths, strides: of the
    stages, one behind another: channels, blocks behind the first convolution, and how much smaller that makes the map. block:
    what the blocks are; kernel: their taps; blocks, kernels: the same for each stage. schemes, rates: how layers are pruned while
    they learn, and what share of each: a stage's first convolution and its blocks, stage by stage, and the head; separable blocks
    stay whole. activation: of all. up: how stages' maps become as large as the first's; neck:
    channels of each then. head, head_kernel: channels and taps of the convolution before the answers. weights: a file or run
    folder of an earlier training with the same shape to begin with; a search's supernet begins with what fits of them.
    """

    grid: Grid = Grid()
    features: int = Field(default=24, ge=1, le=512)
    widths: tuple[int, ...] = (32, 64, 96)
    depths: tuple[int, ...] = (1, 2, 2)
    strides: tuple[int, ...] = (2, 2, 2)
    block: Block = "plain"
    kernel: Kernel = 3
    blocks: tuple[Block, ...] | None = None
    kernels: tuple[Kernel, ...] | None = None
    schemes: tuple[Scheme | Literal["none"], ...] = ()
    rates: tuple[float, ...] = ()
    activation: Literal["relu", "leaky_relu", "hard_swish", "silu"] = "relu"
    up: Literal["transposed", "nearest"] = "transposed"
    neck: int = Field(default=32, ge=1, le=512)
    head: int = Field(default=48, ge=1, le=512)
    head_kernel: Literal[1, 3] = 3
    weights: str | None = None

    @property
    def kinds(self) -> tuple[tuple[Block, Kernel], ...]:
        """Block and taps of each stage."""
        count = len(self.widths)
        return tuple(zip(self.blocks or (self.block,) * count, self.kernels or (self.kernel,) * count, strict=True))

    @property
    def pruning(self) -> tuple[tuple[str, float], ...]:
        """Scheme and rate of each layer that may be pruned."""
        return tuple(zip(self.schemes, self.rates, strict=True)) or (("none", 0.0),) * self.layers

    @property
    def layers(self) -> int:
        return len(self.depths) + sum(self.depths) + 1

    @model_validator(mode="after")
    def _possible(self) -> ModelSection:
        if not len(self.widths) == len(self.depths) == len(self.strides) or not self.widths:
            raise ValueError("widths, depths and strides name the same stages, one or more")
        if min(self.widths) < 1 or min(self.depths) < 0 or min(self.strides) < 1:
            raise ValueError("widths and strides are 1 or more, depths 0 or more")
        for name, each in (("blocks", self.blocks), ("kernels", self.kernels)):
            if each is not None and len(each) != len(self.widths):
                raise ValueError(f"{name} have one entry a stage: {len(self.widths)}")
        if len(self.schemes) != len(self.rates) or (self.schemes and len(self.schemes) != self.layers):
            raise ValueError(f"schemes and rates have one entry a layer: {self.layers}")
        if any(not 0 <= rate < 1 for rate in self.rates):
            raise ValueError("rates are shares of a layer, 0 or more and below 1")
        whole = prod(self.strides)
        if any(side % whole for side in self.grid.cells):
            raise ValueError(
                f"the grid's {self.grid.cells[0]} x {self.grid.cells[1]} cells must be multiples of {whole} (strides)"
            )
        return self


class Data(Strict):
    """[data]: scans in KITTI's folders. root: the folder, relative to the recipe. train, validation: names of lists in ImageSets;
    None: all scans but the share `holdout`, and that share. classes: what is found. shown: the most scans of a validation, evenly
    spread. broken: what happens to scans that cannot be read.
    """

    root: str = "."
    train: str | None = "train"
    validation: str | None = "val"
    holdout: float = Field(default=0.15, gt=0, lt=1)
    classes: tuple[Name, ...] = ("Car", "Pedestrian", "Cyclist")
    broken: Literal["skip", "refuse"] = "skip"
    workers: int = Field(default=0, ge=0)
    shown: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Data:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes are one or more, each once")
        return self


class Augment(Strict):
    """[augment]: flip: left and right are exchanged in half of the scans. turn: about the lidar, at most so many degrees. scale:
    at most so much larger or smaller. shift: standard deviation of a move, in meters. drop: at most this share of the points is
    left out.
    """

    flip: bool = True
    turn: float = Field(default=30.0, ge=0, le=180)
    scale: float = Field(default=0.05, ge=0, lt=0.5)
    shift: float = Field(default=0.2, ge=0, le=5)
    drop: float = Field(default=0.1, ge=0, lt=1)


class Loss(Strict):
    """[loss]: weights beside that of the heat, which is 1. boxes: of the boxes' values; overlap: of what they share with the
    truth.
    """

    boxes: float = Field(default=1.0, ge=0)
    overlap: float = Field(default=1.0, ge=0)


class Teacher(Strict):
    """[teacher]: a finished training over the same cells and classes, whose answers are learned beside the labels. weights: its
    run folder. heat: how much its heat counts beside that of the labels, boxes: its boxes, where it is sure of something.
    """

    weights: str
    heat: float = Field(default=1.0, ge=0)
    boxes: float = Field(default=1.0, ge=0)


class DetectionRecipe(Settings):
    """A network that finds boxes of objects in scans. paper, time: where it comes from and what it took, for people. search: what
    `everyframe search` chooses from and how; training leaves it.
    """

    unit: ClassVar[str] = "scans"
    name: str
    task: Literal["detect"]
    paper: str = ""
    time: str = ""
    model: ModelSection = ModelSection()
    data: Data = Data()
    augment: Augment = Augment()
    loss: Loss = Loss()
    teacher: Teacher | None = None
    search: Search | None = None

    @model_validator(mode="after")
    def _possible(self) -> DetectionRecipe:
        if self.training.label_smoothing:
            raise ValueError("boxes have no labels to smooth")
        return self
