"""What a recipe for objects in scans may say: scans in KITTI's folders, and a network that finds boxes in them."""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from everyframe.modelfile.schema import Grid, Strict
from everyframe.recipes.training import Settings

#: classes that figures are known for
Name = Literal["Car", "Pedestrian", "Cyclist"]


class ModelSection(Strict):
    """[model]: the network. grid: the ground that it sees. features: channels of a pillar. widths, depths, strides: of the
    stages, one behind another: channels, blocks behind the first convolution, and how much smaller that makes the map. block:
    what the blocks are; kernel: their taps. activation: of all. up: how stages' maps become as large as the first's; neck:
    channels of each then. head: channels before the answers. weights: a file or run folder of an earlier training with the same
    shape to begin with.
    """

    grid: Grid = Grid()
    features: int = Field(default=24, ge=1, le=512)
    widths: tuple[int, ...] = (32, 64, 96)
    depths: tuple[int, ...] = (1, 2, 2)
    strides: tuple[int, ...] = (2, 2, 2)
    block: Literal["plain", "residual", "separable"] = "plain"
    kernel: Literal[3, 5] = 3
    activation: Literal["relu", "leaky_relu", "hard_swish", "silu"] = "relu"
    up: Literal["transposed", "nearest"] = "transposed"
    neck: int = Field(default=32, ge=1, le=512)
    head: int = Field(default=48, ge=1, le=512)
    weights: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> ModelSection:
        if not len(self.widths) == len(self.depths) == len(self.strides) or not self.widths:
            raise ValueError("widths, depths and strides name the same stages, one or more")
        if min(self.widths) < 1 or min(self.depths) < 0 or min(self.strides) < 1:
            raise ValueError("widths and strides are 1 or more, depths 0 or more")
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


class DetectionRecipe(Settings):
    """A network that finds boxes of objects in scans. paper, time: where it comes from and what it took, for people."""

    unit: ClassVar[str] = "scans"
    name: str
    task: Literal["detect"]
    paper: str = ""
    time: str = ""
    model: ModelSection = ModelSection()
    data: Data = Data()
    augment: Augment = Augment()
    loss: Loss = Loss()

    @model_validator(mode="after")
    def _possible(self) -> DetectionRecipe:
        if self.training.label_smoothing:
            raise ValueError("boxes have no labels to smooth")
        return self
