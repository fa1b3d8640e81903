"""One stream: a script performed in front of a camera, as (frames, height, width) uint8 with its truth.

Everything is drawn from one generator, so a stream is its seed. Frame i shows the time i / fps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from everyframe.rendering import backgrounds, camera
from everyframe.rendering.hands import actors
from everyframe.rendering.hands.motions import Interval, Script, between
from everyframe.rendering.hands.negatives import rest, signing
from everyframe.rendering.hands.performance import mean_nothing, place, write_gestures, write_negatives, write_tight

SMALL = 0.075  # palm of a hand that gestures to the camera: smaller ones mean somebody else, whatever they do
CHUNK = 8  # frames drawn at a time: small enough for the cache, and for a tight box around the hand


@dataclass
class Stream:
    video: np.ndarray  # (n, H, W) uint8
    intervals: list[Interval]
    fps: float
    hand: np.ndarray  # (n, 3) float32: x, y in frame heights, and 1 where its palm is in the picture


@dataclass(frozen=True)
class Shares:
    """How many streams are drawn so. bones: of those with gestures, a bare hand on plain ground, often bones; bones_beside: of
    those without; tight: cut around a gesture, as clips are.
    """

    bones: float = 0.2
    bones_beside: float = 0.2
    tight: float = 0.25


@dataclass
class Style:
    """What a stream's world is made of, drawn before anything moves."""

    sparse: bool = False  # bare hand on plain ground: no person, often bones only
    person: bool = True
    second: bool = False  # another person
    walker: bool = False  # who crosses the picture
    lean: float = 0.02  # how far people sway, frame heights
    shake: float = 0.0
    pan: float = 0.0
    cut: bool = False
    head: float = 0.3  # of who moves the hand, frame heights
    size: float = 0.12  # palm, frame heights
    anchor: str = "shoulder"
    other_hand: str = "none"  # none | still | busy
    exposures: int = 1
    shutter: float = 0.5
    dropout: float = 0.0
    clean: bool = False
    source_fps: float = 0.0  # 0: the stream's own
    tight: bool = False  # cut around a gesture, the last frame held
    both: bool = False  # the other hand does the same, mirrored

    @classmethod
    def random(cls, rng: np.random.Generator, negative: bool, shares: Shares = Shares()) -> Style:
        sparse = rng.random() < (shares.bones_beside if negative else shares.bones)
        busy = 2.0 if negative else 1.0  # negatives get more of what distracts
        person = not sparse and rng.random() < 0.75
        head = float(np.exp(rng.uniform(np.log(0.1), np.log(0.5))))
        least = SMALL / 2 if negative else SMALL
        size = between(rng, least, 0.28)
        if person and rng.random() < 0.6:  # near and far: both of a person, a hand held out is larger
            size = float(np.clip(head * rng.uniform(0.35, 0.8), least, 0.28))
        return cls(
            sparse=sparse,
            person=person,
            second=not sparse and rng.random() < (0.4 if negative else 0.14),
            walker=not sparse and rng.random() < 0.08 * busy,
            lean=float(rng.choice([0.003, 0.015, 0.06 * busy], p=[0.4, 0.4, 0.2])),
            shake=float(rng.choice([0.0, rng.uniform(0.002, 0.02)], p=[0.7, 0.3])),
            pan=float(
                rng.choice([0.0, rng.uniform(0.03, 0.35)], p=[0.96 if not negative else 0.88, 0.04 if not negative else 0.12])
            ),
            cut=rng.random() < 0.02 * busy,
            head=head,
            size=size,
            anchor=str(
                rng.choice(
                    ["shoulder", "below", "left", "right", "above"],
                    p=[
                        0.4 if person else 0.05,
                        0.3 if person else 0.45,
                        0.13 if person else 0.2,
                        0.13 if person else 0.2,
                        0.04 if person else 0.1,
                    ],
                )
            ),
            other_hand=str(rng.choice(["none", "still", "busy"], p=[0.5, 0.15, 0.35] if negative else [0.76, 0.16, 0.08])),
            exposures=int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])),
            shutter=rng.uniform(0.1, 0.95),
            dropout=float(rng.choice([0.0, rng.uniform(0, 0.15)])) if sparse else 0.0,
            source_fps=0.0 if rng.random() < 0.4 else float(rng.choice([8, 10, 10, 15, 15, 20, 24, 25, 30, 30, 60])),
            tight=rng.random() < shares.tight,
            both=negative and rng.random() < 0.35,
        )


class Arm:
    """A hand with its arm and how it is carried; `paint` draws it over a canvas, blurred by its own motion."""

    def __init__(
        self, rng: np.random.Generator, style: Style, script: Script, shoulder: np.ndarray | None, aspect: float
    ) -> None:
        self.style, self.script = style, script
        self.look = actors.Look.random(rng)
        if style.sparse:
            self.look.stick = float(rng.choice([0.0, rng.uniform(0.015, 0.06)], p=[0.35, 0.65]))
            self.look.skin = rng.uniform(0.5, 1.0)
            self.look.arm = not self.look.stick and rng.random() < 0.5
        wide = aspect / 2
        fixed = {
            "below": (rng.uniform(-0.5, 0.5), 0.75),
            "left": (-wide - 0.25, rng.uniform(-0.1, 0.6)),
            "right": (wide + 0.25, rng.uniform(-0.1, 0.6)),
            "above": (rng.uniform(-0.5, 0.5), -0.8),
        }
        self.anchor = np.array([fixed.get(style.anchor, (rng.uniform(-0.4, 0.4), 0.6))]) if shoulder is None else shoulder
        self.upright = rng.uniform(0, 1)
        self.offset = rng.normal(0, 0.3)
        self.bend = float(rng.uniform(-1, 1))
        self.origin, self.reach = np.zeros((1, 2)), 1.0  # of the script's places in the picture, (n | 1, 2), and their unit
        self.luck = np.repeat(rng.random(4096), rng.integers(1, 4))  # of each frame: below the chance to be lost, it is
        self.gone = np.zeros(0, bool)

    def mirrored(self, about: float) -> Arm:
        """The other arm of somebody who does the same with both hands; about: twice where the middle is."""
        other = copy.copy(self)
        other.script, other.look = copy.copy(self.script), replace(self.look, left=not self.look.left)
        other.script.points = [rows * (-1, 1, 1, -1, 1, 1, -1, 1) + (about, 0, 0, 0, 0, 0, 0, 0) for rows in self.script.points]
        other.anchor, other.offset, other.bend = self.anchor * (-1, 1) + (about, 0), -self.offset, -self.bend
        return other

    def paint(self, canvas: np.ndarray, view: View, times: np.ndarray, softness: float) -> None:
        style, k = self.style, self.style.exposures
        n = len(times)
        step = float(np.median(np.diff(times))) if n > 1 else 1 / 30
        fine = (times[:, None] + np.linspace(0, style.shutter * step, k, endpoint=k == 1)[None]).ravel()
        pose = place(self.script, fine)
        at = pose.at * self.reach + np.repeat(self.origin, k if len(self.origin) > 1 else 1, 0)
        if n > 1:  # what detects hands loses them while they are quick
            with np.errstate(divide="ignore", invalid="ignore"):  # no step: a camera that shows most pictures twice
                speed = np.hypot(*np.gradient(at[::k], axis=0).T) / step
            self.gone = self.luck[:n] < style.dropout * np.clip(0.5 + 2 * speed, 0, 5)
        anchor = np.repeat(self.anchor, n, 0) if len(self.anchor) == 1 else self.anchor
        anchor = np.repeat(anchor, k, 0) + 0.15 * (at - at.mean(0))
        size = style.size * pose.scale
        way = at - anchor
        way /= np.hypot(way[:, 0], way[:, 1])[:, None] + 1e-6
        forward = way * (1 - 0.7 * self.upright) + np.array([0, -0.7 * self.upright])
        turn = np.arctan2(forward[:, 1], forward[:, 0]) + pose.tilt + self.offset
        forward = np.stack([np.cos(turn), np.sin(turn)], 1) + pose.flick
        forward /= np.maximum(1, np.hypot(forward[:, 0], forward[:, 1]))[:, None]
        for begin in range(0, n, CHUNK):
            frames = slice(begin, min(n, begin + CHUNK))
            fines = slice(frames.start * k, frames.stop * k)
            hand = (at[fines], forward[fines], size[fines], pose.curl[fines], pose.roll[fines], anchor[fines])
            self._paint(canvas, view, frames, *hand, softness)

    def _paint(
        self,
        canvas: np.ndarray,
        view: View,
        frames: slice,
        at: np.ndarray,
        forward: np.ndarray,
        size: np.ndarray,
        curl: np.ndarray,
        roll: np.ndarray,
        anchor: np.ndarray,
        softness: float,
    ) -> None:
        k, look = self.style.exposures, self.look
        x, y = view.grid(frames)
        reach = 2.3 * float(size.max())
        low, high = at.min(0) - reach, at.max(0) + reach
        if look.arm:
            low, high = np.minimum(low, anchor.min(0) - reach / 3), np.maximum(high, anchor.max(0) + reach / 3)
        columns = np.flatnonzero(((x > low[0]) & (x < high[0])).any((0, 1)))
        rows = np.flatnonzero(((y > low[1]) & (y < high[1])).any((0, 2)))
        if not len(columns) or not len(rows):
            return
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        x, y = x[(slice(None), *box)], y[(slice(None), *box)]
        if len(x) > 1:
            x, y = np.repeat(x, k, 0), np.repeat(y, k, 0)
        shape = (len(at), x.shape[1], x.shape[2])
        color, alpha = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

        def put(distance: np.ndarray, gray: np.ndarray | float) -> None:
            a = np.clip(0.5 - distance / np.float32(softness), 0, 1)
            np.add(color, a * (gray - color), out=color)
            np.add(alpha, a * (1 - alpha), out=alpha)

        if look.arm:
            lower, upper = actors.limb(x, y, at, forward, size, anchor, self.bend)
            tone = look.skin if look.bare else look.sleeve
            fabric: np.ndarray | float = tone
            if look.texture is not None and not look.bare:
                middle = at.mean(0)
                fabric = tone * 0.5 + 0.5 * backgrounds.sample(look.texture, x[:1] - middle[0], y[:1] - middle[1], 0.6)
            put(upper, fabric)
            put(lower, fabric * (1 - look.edge * np.exp(np.minimum(lower, 0) / (0.1 * self.style.size))))
        distance = actors.hand(x, y, look, at, forward, size, curl, roll)
        shade = look.skin * (1 - look.edge * np.exp(np.minimum(distance, 0) / (0.06 * self.style.size)))
        if look.light:
            shade = shade * (1 + look.light * (x - at[:, 0, None, None].astype(np.float32)) / (4 * self.style.size))
        put(distance, shade)
        n = frames.stop - frames.start
        color = color.reshape(n, k, *shape[1:]).mean(1)
        alpha = alpha.reshape(n, k, *shape[1:]).mean(1)
        present = ~self.gone[frames][:, None, None] if len(self.gone) else True
        part = canvas[(frames, *box)]
        canvas[(frames, *box)] = np.where(present, part * (1 - alpha) + color, part)


def bystanders_arm(rng: np.random.Generator, style: Style, person: actors.Person, seconds: float, aspect: float) -> Arm:
    """Of somebody else, doing what hands do that is no gesture, about his own body; from afar also what else would be one."""
    script = Script(rng, (rng.uniform(-0.4, 0.4), 0.4))
    mean_nothing(script, seconds, like=0.4 * person.size < 0.75 * SMALL)
    side = rng.choice([-1, 1])
    arm = Arm(rng, replace(style, size=0.4 * person.size, sparse=False), script, person.shoulder(side), aspect)
    arm.origin, arm.reach = person.at + np.array([0.6 * side, 0.9]) * person.size, 3.5 * person.size
    return arm


class View:
    """The camera's place: pixel grids in frame heights, moved by shake, pan and zoom; (1, H, W) if it stands still."""

    def __init__(self, rng: np.random.Generator, style: Style, n: int, size: tuple[int, int]) -> None:
        h, w = size
        y, x = np.mgrid[:h, :w].astype(np.float32)
        self.x, self.y = ((x + 0.5) / h - w / h / 2)[None], ((y + 0.5) / h - 0.5)[None]
        self.move = np.zeros((n, 3), np.float32)
        if style.shake:
            self.move[:, :2] += style.shake * camera.smooth_walk(rng, n, rng.uniform(1, 6))
        if style.pan:
            way = camera.smooth_walk(rng, n, rng.uniform(10, 40), 3) * style.pan
            self.move += (way - way[n // 2]) * (1, 0.4, 0.4)
        self.still = not self.move.any()

    def grid(self, frames: slice) -> tuple[np.ndarray, np.ndarray]:
        if self.still:
            return self.x, self.y
        move = self.move[frames, :, None, None]
        zoom = np.exp(move[:, 2])
        return self.x * zoom + move[:, 0], self.y * zoom + move[:, 1]


def _person(
    rng: np.random.Generator, style: Style, n: int, size: tuple[int, int], walks: bool, place_x: float, height: float = 0.0
) -> actors.Person:
    wide = size[1] / size[0] / 2
    height = height or between(rng, 0.07, 0.45)
    middle = np.array([place_x, rng.uniform(-0.25 if height < 0.16 else -0.15, 0.2)])
    at = middle + style.lean * camera.smooth_walk(rng, n, rng.uniform(4, 30)) * (1, 0.5)
    if walks:
        speed = rng.uniform(0.015, 0.09) * rng.choice([-1, 1])
        at[:, 0] = -np.sign(speed) * (wide + 0.3) + speed * (np.arange(n) - rng.integers(-10, n))
    turn = np.clip(camera.smooth_walk(rng, n, rng.uniform(4, 30), 1)[:, 0] * rng.choice([0.1, 1.0]), -1, 1)
    gait = np.sin(rng.uniform(0.3, 1.2) * np.arange(n) + rng.uniform(0, 6)) * rng.uniform(0.3, 1) if walks else 0.0
    cloth = backgrounds.any_background(rng, (36, 48)) if rng.random() < 0.5 else None
    return actors.Person(at, height, turn, rng.uniform(0.03, 0.95, 4), cloth, gait)


def render(
    rng: np.random.Generator,
    script: Script,
    times: np.ndarray,
    size: tuple[int, int],
    style: Style,
    prepare: Callable[[list[actors.Person], list[Arm]], None] | None = None,
    background: Callable[[np.random.Generator, tuple[int, int]], np.ndarray] | None = None,
) -> np.ndarray:
    """(n, H, W) uint8: the script's performance at the given times, seconds.

    prepare: a last hand on people and arms. background: a texture instead of any.
    """
    n, (h, w) = len(times), size
    softness = 1.0 / h * rng.uniform(0.8, 1.6)
    view = View(rng, style, n, size)
    texel = (108, 144) if h <= 96 else (h * 3 // 2, w * 3 // 2)
    wide = w / h / 2
    people: list[actors.Person] = []
    main_x = rng.normal(0, 0.18)
    if style.second:
        walks = rng.random() < 0.3
        people.append(_person(rng, style, n, size, walks, main_x + rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)))
    if style.walker:
        people.append(_person(rng, style, n, size, True, 0.0))
    if style.person:
        people.append(_person(rng, style, n, size, False, main_x, style.head))
    shoulder = people[-1].shoulder(rng.choice([-1, 1])) if style.person and style.anchor == "shoulder" else None
    others = [
        bystanders_arm(rng, style, person, times[-1] + 1, w / h)
        for person in people[: len(people) - style.person]
        for _ in range(rng.integers(3))
    ]
    arms = [*others, Arm(rng, style, script, shoulder, w / h)]
    if style.other_hand != "none":
        second = Script(rng, (rng.uniform(-wide, wide), rng.uniform(0.1, 0.5)), script.view, style.size)
        act = rest if style.other_hand == "still" else signing
        while second.seconds < times[-1] + 1:
            act(second)
        arms.insert(0, Arm(rng, style, second, None, w / h))
    if style.both:
        arms.append(arms[-1].mirrored(2 * main_x))
    if prepare:
        prepare(people, arms)
    whole = slice(0, n)
    x, y = view.grid(whole)
    paint = background or (backgrounds.any_background if not style.sparse else backgrounds.KINDS[rng.choice([0, 0, 0, 1])][0])
    texture = paint(rng, texel)
    if style.sparse and rng.random() < 0.6:
        texture = np.zeros_like(texture)
    canvas = np.broadcast_to(backgrounds.sample(texture, x, y), (n, h, w)).copy()
    behind = float(canvas.mean())
    for arm in arms:  # who is made out against nothing is no example
        if abs(arm.look.skin - behind) < 0.12:
            arm.look.skin = behind + (0.15 if behind < 0.5 else -0.15)
    if style.cut:
        at = int(rng.integers(1, n))
        canvas[at:] = backgrounds.sample(backgrounds.any_background(rng, texel), *view.grid(slice(at, n)))
    for person in people:
        for begin in range(0, n, CHUNK):
            frames = slice(begin, min(n, begin + CHUNK))
            person.part(frames).paint(canvas[frames], *view.grid(frames), softness)
    for arm in arms:
        arm.paint(canvas, view, times, softness)
    return camera.expose(rng, canvas, style.clean)


def random_stream(
    rng: np.random.Generator,
    frames: int = 48,
    fps: float = 12.0,
    size: tuple[int, int] = (48, 64),
    label: str | None = None,
    negative: bool | None = None,
    single: bool = False,
    shares: Shares = Shares(),
) -> Stream:
    """A stream of gestures (all of `label` if given) or of nothing but negatives; single: one gesture, near the
    beginning.
    """
    negative = rng.random() < 0.5 if negative is None else negative
    style = Style.random(rng, negative, shares)
    view = (size[1] / size[0] / 2, 0.5)
    seconds = frames / fps
    tight = style.tight and not single
    begin = 0.0 if single or (tight and not negative) else rng.uniform(0, 1.2)  # switched on while something is going on already
    if negative:
        script = write_negatives(rng, seconds + begin + 0.2, view, style.size, style.both)
    elif tight:
        script = write_tight(rng, view, style.size, label)
    else:
        script = write_gestures(rng, seconds + begin, view, style.size, label, single)
    times = np.arange(frames) / fps
    seen = times + begin + rng.normal(0, 0.006, frames)
    if style.source_fps:
        seen = camera.shown(rng, times + begin, style.source_fps)
    seen = np.sort(seen)
    video = render(rng, script, seen, size, style)
    at = place(script, seen).at
    if tight:  # it is over: the last frame is held
        last = int(rng.uniform(0.4, 1) * frames) if negative else min(frames - 1, int((script.seconds - begin) * fps))
        video[last:], at[last:] = video[last], at[last]
    world = {"look": "bones" if style.sparse else "person", "camera": style.source_fps or fps, "tight": tight}
    intervals = [
        Interval(i.label, i.start_s - begin, i.ready_s - begin, i.end_s - begin, {**i.factors, **world})
        for i in (() if negative else script.intervals)
    ]
    hand = np.column_stack([at, (np.abs(at) < view).all(1)]).astype(np.float32)
    return Stream(video, [i for i in intervals if i.end_s > 0 and i.start_s < seconds], fps, hand)
