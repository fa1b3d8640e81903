"""What a recipe for super-resolution may say: pictures that lie in a folder, and a network that enlarges them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from everyframe.modelfile.schema import Strict
from everyframe.recipes.pruning import Scheme
from everyframe.recipes.search import Search
from everyframe.recipes.training import Settings

#: what stands between the first and the last convolution: a convolution of so many taps a side, or one for each channel alone
#: and a 1x1 behind it
Block = Literal["conv1", "conv3", "conv5", "conv7", "separable3", "separable5"]


class ModelSection(Strict):
    """[model]: the network. scale: how many times larger pictures become. channels, depth: of its convolutions between the first
    and the last, kernel: their taps. blocks: instead of depth and kernel, what stands in between, one by one; schemes, rates:
    how each of them is pruned while it learns, and what share of it. reduce: 2: the network works on squares of 2x2 pixels, a
    quarter of the places, so that channels cost a quarter. first: taps of the first convolution, in such squares. last: 2: the
    last convolution answers squares of 2x2 of its pixels at once, which fills an engine's vectors. activation: what follows
    each convolution. wide: the inner channels that they learn with. shift: the share of channels that come from
    the frame before, which makes it a network for video. weights: a file of an earlier training with the same shape to begin
    with; of another scale all but the last layer is taken. size: (height, width) of the pictures that the file is made for;
    `everyframe predict` remakes it for any other.
    """

    scale: Literal[2, 3, 4] = 4
    channels: int = Field(default=16, ge=1, le=256)
    depth: int = Field(default=5, ge=0, le=64)
    kernel: Literal[1, 3, 5, 7] = 3
    blocks: tuple[Block, ...] | None = Field(default=None, max_length=64)
    schemes: tuple[Scheme | Literal["none"], ...] = ()
    rates: tuple[float, ...] = ()
    reduce: Literal[1, 2] = 1
    first: Literal[3, 5] = 5
    last: Literal[1, 2] = 1
    activation: Literal["relu", "prelu"] = "relu"
    wide: int = Field(default=256, ge=1)
    shift: float = Field(default=0.0, ge=0, lt=1)
    weights: str | None = None
    size: tuple[int, int] = (180, 320)

    @property
    def layers(self) -> tuple[str, ...]:
        """The blocks, one by one."""
        return (f"conv{self.kernel}",) * self.depth if self.blocks is None else self.blocks

    @property
    def pruning(self) -> tuple[tuple[str, float], ...]:
        """Scheme and rate of each block."""
        pairs = zip(self.schemes, self.rates, strict=True)
        return tuple(pairs) or (("none", 0.0),) * len(self.layers)

    @property
    def squares(self) -> int:
        """Pixels a side of what is answered at once."""
        return self.reduce * self.last

    @model_validator(mode="after")
    def _whole(self) -> ModelSection:
        if any(side % self.squares for side in self.size):
            raise ValueError(f"size must be of multiples of reduce times last, {self.squares}")
        if self.shift and self.last > 1:
            raise ValueError("shift and last = 2 do not go together")
        if len(self.schemes) != len(self.rates) or (self.schemes and len(self.schemes) != len(self.layers)):
            raise ValueError(f"schemes and rates have one entry a block: {len(self.layers)}")
        if any(not 0 <= rate < 1 for rate in self.rates):
            raise ValueError("rates are shares of a block, 0 or more and below 1")
        return self


class Data(Strict):
    """[data]: pictures in folders. root: the folder of the data, relative to the recipe. train, validation: of large pictures,
    relative to root; small ones beside them (NAME_HR and NAME_LR_bicubic/X4, as DIV2K has it) are taken, else they are made.
    holdout: the share of the training pictures that is held out where there is no validation. crop: side of what is cut out of a
    small picture. crops: cut out in an epoch. flip: mirrored and turned by quarters. frames: of a network for video, which sees a
    crop that moves; speed: at most so many pixels of the large picture a frame. cache: keep luma on disk; None: where there is
    much. broken: what happens to pictures that cannot be read. shown: the most pictures of a validation, evenly spread.
    """

    root: str = "."
    train: str = "."
    validation: str | None = None
    holdout: float = Field(default=0.1, gt=0, lt=1)
    crop: int = Field(default=48, ge=8)
    crops: int = Field(default=1600, ge=1)
    flip: bool = True
    frames: int = Field(default=6, ge=2, le=64)
    speed: float = Field(default=6.0, ge=0)
    cache: bool | None = None
    broken: Literal["skip", "refuse"] = "skip"
    workers: int = Field(default=0, ge=0)
    shown: int = Field(default=100, ge=1)


class SuperResolutionRecipe(Settings):
    """A network that enlarges pictures or, with `model.shift`, video. The loss is the mean absolute error of luma. paper, time:
    where it comes from and what it took, for people. search: what `everyframe search` chooses from and how; training leaves it.
    """

    unit: ClassVar[str] = "pictures"
    name: str
    task: Literal["enhance"]
    paper: str = ""
    time: str = ""
    model: ModelSection = ModelSection()
    data: Data = Data()
    search: Search | None = None

    @model_validator(mode="after")
    def _possible(self) -> SuperResolutionRecipe:
        if self.model.shift and not self.model.layers:
            raise ValueError("shift stands before the convolutions in between, so model.depth must be 1 or more")
        if self.search and self.model.shift:
            raise ValueError("a network for video is not searched: search one for pictures, or leave out model.shift")
        if self.training.label_smoothing:
            raise ValueError("pictures have no labels to smooth")
        return self
