"""What cameras.toml may say."""

from __future__ import annotations

import os
import re
import time
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from everyframe.errors import UsageError
from everyframe.runtime.alerts import AlertRule
from everyframe.settings import checked
from everyframe.video.masks import Polygon

EXAMPLE = """\
# What `everyframe watch cameras.toml` watches. docs/cameras.md explains every key.
model = "builtin"               # of all cameras that name no other; weights are shared
folder = "events"               # snapshots and videos of events

[keep]
days = 14
gigabytes = 10                  # the oldest go first

[sinks]
ndjson = "events.ndjson"        # a line an event
# sqlite = "events.db"
# alerts = ["sound", "https://example.org/hook"]

# [sinks.mqtt]
# host = "homeassistant.local"
# user = "everyframe"
# password = "$MQTT_PASSWORD"   # from the environment

[cameras.door]
address = "rtsp://user:$DOOR_PASSWORD@192.168.1.20/stream1"
# sub = "rtsp://user:$DOOR_PASSWORD@192.168.1.20/stream2"   # small and cheap: for the network; videos are of `address`
# masks = [[0.7, 0.0, 1.0, 0.4]]      # left, top, right, bottom: black before anything is computed, stored or shown
# region = [0.0, 0.2, 1.0, 1.0]       # only this part counts
# quiet = ["22:00-07:00"]             # no events then

[cameras.desk]
address = 0                     # a camera of this machine
"""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _polygon(value: Any) -> Any:
    """`[left, top, right, bottom]`, or three corners [x, y] or more; from 0 to 1."""
    numbers = isinstance(value, (list, tuple)) and all(isinstance(each, (int, float)) for each in value)
    if numbers and len(value) == 4:
        left, top, right, bottom = value
        if not (left < right and top < bottom):
            raise ValueError("left < right and top < bottom")
        value = ((left, top), (right, top), (right, bottom), (left, bottom))
    pairs = isinstance(value, (list, tuple)) and all(isinstance(each, (list, tuple)) and len(each) == 2 for each in value)
    if not pairs or len(value) < 3 or not all(0 <= c <= 1 for each in value for c in each):
        raise ValueError("[left, top, right, bottom], or corners [[x, y], [x, y], [x, y], ...], all from 0 to 1")
    return tuple(tuple(map(float, each)) for each in value)


_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)$")


class CameraSettings(Section):
    """address: of a camera, or its number. sub: a smaller stream of it for the network; videos are of `address`, of which only
    key frames are decoded. timeout: seconds without pictures after which it is lost. gap: those after which the network begins
    anew. alert: a rule for alerts in words, instead of the model's event rule. minimum: seconds that an event must
    last. before, after: seconds of video around it. quiet: hours without events, by this machine's clock.
    """

    address: str | int
    sub: str | None = None
    model: str | None = None
    transport: Literal["tcp", "udp", "udp_multicast", "http"] = "tcp"
    options: dict[str, str] = {}
    hardware: str | None = None
    keyframes: bool = False
    policy: Literal["latest", "every"] = "latest"
    timeout: float | None = Field(default=None, gt=0, le=3600)
    gap: float | None = Field(default=None, gt=0, le=3600)
    masks: tuple[Polygon, ...] = ()
    region: Polygon | None = None
    threshold: float | None = Field(default=None, gt=0, le=1)
    refractory: float | None = Field(default=None, ge=0, lt=86_400)
    alert: AlertRule | None = None
    minimum: float = Field(default=0.0, ge=0, le=60)
    quiet: tuple[str, ...] = ()
    snapshot: bool = True
    video: bool = True
    before: float = Field(default=5.0, ge=0, le=60)
    after: float = Field(default=5.0, ge=0, le=60)

    @field_validator("address", "sub")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        return _from_environment(value)

    @field_validator("masks", mode="before")
    @classmethod
    def _masks(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise ValueError("a list of masks")
        return tuple(map(_polygon, value))

    @field_validator("region", mode="before")
    @classmethod
    def _region(cls, value: Any) -> Any:
        return None if value is None else _polygon(value)

    @field_validator("alert", mode="before")
    @classmethod
    def _alert(cls, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError('words, such as "labels=drowsy seconds=2"')
        try:
            return AlertRule.read([value])
        except UsageError as error:
            raise ValueError(f"{error.what} {error.where}: {error.expected}, not {error.got}") from None

    @field_validator("quiet")
    @classmethod
    def _quiet(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((each for each in value if not _HOURS.match(each)), None):
            raise ValueError(f'hours such as "22:00-07:00", not {wrong!r}')
        return value

    def is_quiet(self, now: time.struct_time) -> bool:
        minute = now.tm_hour * 60 + now.tm_min
        for each in self.quiet:
            a, b, c, d = map(int, _HOURS.match(each).groups())  # type: ignore[union-attr]
            begin, end = a * 60 + b, c * 60 + d
            if begin <= minute < end if begin < end else minute >= begin or minute < end:
                return True
        return False


class Keep(Section):
    days: float = Field(default=14.0, gt=0)
    gigabytes: float = Field(default=10.0, gt=0)


class Mqtt(Section):
    """topic: what all topics begin with. discovery: Home Assistant's prefix; empty is none. tls: the broker's certificate is
    checked against those that this machine trusts, or against `ca`, a file (PEM), which means tls.
    """

    host: str
    port: int = Field(default=0, ge=0, lt=65_536)
    user: str | None = None
    password: str | None = None
    topic: str = Field(default="everyframe", pattern=r"^[^#+\s]+$")
    discovery: str = "homeassistant"
    tls: bool = False
    ca: Path | None = None

    @field_validator("user", "password")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        return _from_environment(value)


class SinkSettings(Section):
    """ndjson, sqlite: files. megabytes: after which an NDJSON file is put aside, and another begun; so many `files` are kept.
    sync: each line is on the disk before the next. alerts: ways of `predict --alert`.
    """

    ndjson: Path | None = None
    megabytes: float = Field(default=100.0, gt=0)
    files: int = Field(default=5, ge=1, le=1000)
    sync: bool = True
    sqlite: Path | None = None
    alerts: tuple[str, ...] = ()
    mqtt: Mqtt | None = None


class Settings(Section):
    """model, engine, threads: of all cameras. folder: for snapshots and videos."""

    model: str = "builtin"
    engine: str = "auto"
    threads: int = Field(default=1, ge=1)
    folder: Path = Path("events")
    keep: Keep = Keep()
    sinks: SinkSettings = SinkSettings()
    cameras: dict[str, CameraSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _named(self) -> Settings:
        if wrong := next((name for name in self.cameras if not re.fullmatch(r"[\w-]+", name)), None):
            raise ValueError(f"a camera's name has letters, digits, - and _: not {wrong!r}")
        return self


def read(path: str | os.PathLike[str]) -> Settings:
    """Raises UsageError, with the line."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "The list of cameras cannot be read.", where=path, got=getattr(error, "strerror", None) or error,
            hint="`everyframe watch --example > cameras.toml` writes a first one",
        ) from None  # fmt: skip
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError("The list of cameras is not valid TOML.", where=path, got=error) from None
    return parsed(values, text, os.fspath(path))


def parsed(values: dict[str, Any], text: str = "", where: str = "cameras") -> Settings:
    """Of values as TOML has them."""
    explained = "docs/cameras.md explains every key"
    return checked(Settings, values, text, where, what="list of cameras", explained=explained, error=UsageError)


def _from_environment(value: Any) -> Any:
    """$NAME and ${NAME} are taken from the environment, so that a file need not hold passwords. Raises ValueError where one is
    not set.
    """
    if not isinstance(value, str):
        return value
    missing = [name for name in re.findall(r"\$\{?(\w+)\}?", value) if name not in os.environ]
    if missing:
        raise ValueError(f"the environment to have {missing[0]} (a $ that is meant as one is written %24)")
    return os.path.expandvars(value)
