"""What the API says, as its description (OpenAPI) has it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from everyframe.serving.shelf import Served, facts


class Fault(BaseModel):
    """What is wrong, in the words of everyframe."""

    kind: str = Field(description="Class of the error.", examples=["SourceError"])
    what: str = Field(description="What happened, in a sentence.", examples=["The video has no frames."])
    where: str | None = Field(None, description="The header, parameter, file or frame that it is about.")
    expected: str | None = Field(None, description="What would have been right.")
    got: str | None = Field(None, description="What came instead.")
    hint: str | None = Field(None, description="What to do next.")


class Problem(BaseModel):
    error: Fault


class Rule(BaseModel):
    """When scores become an event: one label holds above the threshold for some steps, and is armed again by the background."""

    background: str
    threshold: float
    hold_steps: int
    refractory_s: float = Field(description="Seconds after an event without another.")
    rearm: float = Field(description="Score of the background that arms the rule again.")


class Model(BaseModel):
    name: str = Field(description="What requests call it: the stem of its file.", examples=["builtin"])
    generation: int = Field(description="How often it was loaded, from 1: one more with each exchange.")
    engine: str = Field(description="What runs it.", examples=["native"])
    kind: Literal["step", "clip"] = Field(description="A step network answers at every step; a clip network from a window.")
    task: Literal["classify", "multilabel", "regress", "frames"] = Field(description="What its answer is.")
    labels: list[str]
    rate: float = Field(description="Frames a second that it looks at. Those nearest to its ticks are chosen by their times.")
    hop: int = Field(description="Frames of a step.")
    feature_delay: int = Field(description="Frames until the first prediction, from a stream's first frame.")
    events: Rule | None = Field(description="Its event rule, if it has one.")
    size: tuple[int, int] | None = Field(description="Height and width that it looks at; pictures of any size are made to fit.")
    streams: int = Field(description="Streams that are open.")
    error: Fault | None = Field(description="Why the newest file could not be loaded; the one before is still served.")


class Models(BaseModel):
    models: list[Model]


class Label(BaseModel):
    label: str
    index: int
    score: float


class Event(Label):
    pts_s: float = Field(description="When it was recognized, seconds since the camera's first frame.")
    at: float = Field(description="The same, seconds since 1970.")


class Camera(BaseModel):
    name: str
    model: str
    state: Literal["connecting", "live", "lost", "failed", "stopped"]
    reason: str = Field(description="Why it is not live.")
    since: float = Field(description="When it came to that state, seconds since 1970.")
    fps: float | None = Field(description="Frames a second that it really sends.")
    captured: int = Field(description="Frames that the network was to see: processed + dropped.")
    processed: int
    dropped: int = Field(description="Those that came too late for it.")
    restarts: int = Field(description="How often its decoder was started again.")
    resets: int = Field(description="How often the network began anew after a gap.")
    predictions: int
    latency_ms: float | None = Field(description="From having the newest picture decoded to knowing what it shows.")
    still_s: float = Field(description="For how long the picture is the same.")
    top: list[Label] = Field(description="What the newest picture shows; nothing unless it is live.")
    events: list[Event] = Field(description="The newest ones, newest first.")


class Cameras(BaseModel):
    cameras: list[Camera]


class Reloaded(BaseModel):
    model: Model
    changes: list[str] = Field(description="What of its interface is no longer as it was: labels, rate, ...")


class Health(BaseModel):
    status: Literal["ok", "stopping"]


def model_of(served: Served) -> Model:
    edition = served.edition
    program, trouble = edition.program, served.trouble
    said = None
    if trouble is not None:  # without places on this machine
        said = Fault(kind=type(trouble).__name__, what=trouble.what, where=served.name, expected=None, got=None, hint=None)
    return Model(
        name=served.name, generation=edition.generation, engine=program.engine, size=program.size, streams=served.streams,
        error=said, **facts(program),
    )  # fmt: skip
