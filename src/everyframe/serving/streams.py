"""Frames by WebSocket: in as they are taken, out as they are recognized."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any, TypeVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everyframe.errors import EveryframeError, StateError, UsageError, meant
from everyframe.serving.answers import model_of
from everyframe.serving.cameras import Watched
from everyframe.serving.frames import parsed
from everyframe.serving.gate import Bucket
from everyframe.serving.lane import Lane, Message, Wish
from everyframe.serving.refusals import words
from everyframe.serving.state import State
from everyframe.video.coded import CODECS

router = APIRouter()
#: codes of closing, after those of HTTP
NO_TOKEN, NOT_FOUND, IDLE, BUSY, BAD, LEAVING = 4401, 4404, 4408, 4429, 4400, 1001
#: frames, one after another, that cannot be read; then the client is taken for one that speaks of something else
FAULTS = 32
#: turns of the event loop, without a frame, after which all that had come is read; the largest frame comes in 32 pieces. Clients
#: that go on sending are listened to for so many seconds
TURNS, COME_S = 100, 0.3
#: seconds between two pictures of a camera that are shown
PICTURE_S = 0.2
Words = TypeVar("Words", bound=BaseModel)


class Asked(BaseModel):
    """The words of an address."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    live: bool = True
    top_k: int = Field(5, ge=1, le=1000)
    scores: bool = False


class Closing(Exception):
    def __init__(self, code: int, error: EveryframeError) -> None:
        self.code, self.error = code, error


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    state: State = socket.app.state.serving
    await socket.accept()
    try:
        await admitted(socket, state)
        lane = _lane(socket, state)
    except Closing as closing:
        await close(socket, closing)
        return
    except WebSocketDisconnect:
        return
    served = lane.served
    served.streams += 1
    try:
        await _run(socket, state, lane)
    finally:
        served.streams -= 1
        lane.free()


class Listening(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pictures: bool = True
    predictions: bool = True


@router.websocket("/v1/cameras/{name}")
async def camera(socket: WebSocket, name: str) -> None:
    """What a camera of the server says, and its newest picture, up to five a second."""
    state: State = socket.app.state.serving
    await socket.accept()
    try:
        await admitted(socket, state)
        wish, watched = asked_of(socket, Listening), state.cameras.get(name)
        if watched is None:
            hint = meant(name, state.cameras)
            raise Closing(NOT_FOUND, UsageError("There is no such camera here.", where="camera", got=name[:100], hint=hint))
        with watched.listening() as queue:
            tasks = [asyncio.create_task(_hear(socket)), asyncio.create_task(state.stopped.wait())]
            tasks += [asyncio.create_task(_say(socket, queue, wish))]
            tasks += [asyncio.create_task(_show(socket, watched))] if wish.pictures else []
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if state.stopping.is_set():
            raise Closing(LEAVING, UsageError("The server is stopping."))
    except Closing as closing:
        await close(socket, closing)
    except WebSocketDisconnect:
        return


async def _hear(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        await asyncio.sleep(0.05)  # there is nothing to be said to a camera


async def _say(socket: WebSocket, queue: asyncio.Queue[dict[str, Any]], wish: Listening) -> None:
    while True:
        message = await queue.get()
        if wish.predictions or message["type"] != "prediction" or "event" in message:
            await socket.send_text(json.dumps(message, separators=(",", ":")))


async def _show(socket: WebSocket, watched: Watched) -> None:
    before = None
    while True:
        picture = await asyncio.to_thread(watched.picture)
        if picture is not None and picture is not before:
            await socket.send_bytes(picture)
        before = picture
        await asyncio.sleep(PICTURE_S)


async def admitted(socket: WebSocket, state: State) -> None:
    """Pages cannot send a WebSocket's headers, so they say the token first. Raises Closing."""
    if socket.scope["everyframe.admitted"]:
        return
    try:
        first = await asyncio.wait_for(socket.receive(), state.limits.head_s)
    except TimeoutError:
        first = {}
    try:
        token = json.loads(first.get("text") or "{}")["token"]
    except (ValueError, KeyError, TypeError):
        token = ""
    if not (isinstance(token, str) and state.policy.shown(token)):
        state.metrics.count("refused_total", reason="401")
        expected, hint = '{"token": "..."} as the first message', "it is printed where the server was started"
        raise Closing(NO_TOKEN, UsageError("A token is needed.", expected=expected, hint=hint))


def _lane(socket: WebSocket, state: State) -> Lane:
    asked = asked_of(socket, Asked)
    served = state.shelf.find(asked.model)
    if served is None:
        raise Closing(NOT_FOUND, unknown(state, str(asked.model)))
    if state.stopping.is_set():
        raise Closing(LEAVING, UsageError("The server is stopping."))
    open_now = sum(each.streams for each in state.shelf.models.values())
    if open_now >= state.limits.streams:
        state.metrics.count("refused_total", reason="streams")
        hint = "try again later; whoever runs the server can allow more by --max-streams"
        raise Closing(BUSY, UsageError("The server has as many streams as it takes.", got=open_now, hint=hint))
    return Lane(served, state.stepper, state.metrics, state.limits, Wish(asked.live, asked.top_k, asked.scores))


def asked_of(socket: WebSocket, words: type[Words]) -> Words:
    """The words of an address. Raises Closing."""
    try:
        return words.model_validate(dict(socket.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the address"
        raise Closing(BAD, UsageError("This cannot be asked.", where=where, got=first["msg"])) from None


def unknown(state: State, name: str) -> UsageError:
    names = list(state.shelf.models)
    return UsageError(
        "There is no such model here.", where="model", expected=", ".join(names), got=name[:100], hint=meant(name, names)
    )


async def _run(socket: WebSocket, state: State, lane: Lane) -> None:
    """Until the client leaves, is idle or wrong, or the server stops."""
    limits = state.limits
    about = {"frame": limits.frame, "pixels": limits.pixels, "unanswered": limits.unanswered, "idle_s": limits.idle_s}
    with contextlib.suppress(WebSocketDisconnect):
        await socket.send_json({"type": "ready", "model": model_of(lane.served).model_dump(), "limits": about, "codecs": CODECS})
    read, answer = asyncio.create_task(_read(socket, state, lane)), asyncio.create_task(_answer(socket, lane))
    stop = asyncio.create_task(state.stopped.wait())
    try:
        await asyncio.wait((read, answer, stop), return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            await _come(read, lane)
        read.cancel()
        lane.close()
        closing = _trouble(read)
        if isinstance(closing, WebSocketDisconnect):
            return
        await state.awaited(answer, limits.stop_s / 2)
        closing, counts = closing or _trouble(answer), lane.counts()
        answer.cancel()  # no answer comes behind what is told of it now
        if isinstance(closing, Closing):
            await close(socket, closing, counts)
        elif stop.done():
            await close(socket, Closing(LEAVING, UsageError("The server is stopping.", hint="connect again in a moment")), counts)
        elif closing is not None:
            raise closing
    finally:
        for task in (read, answer, stop):
            task.cancel()
        await asyncio.gather(read, answer, stop, return_exceptions=True)


async def _come(read: asyncio.Task[None], lane: Lane) -> None:
    """Reads what had come: it lies in buffers, and each turn of the event loop brings a piece of it."""
    quiet, until = 0, time.monotonic() + COME_S
    while quiet < TURNS and not read.done() and time.monotonic() < until:
        before = lane.received
        await asyncio.sleep(0)
        quiet = quiet + 1 if lane.received == before else 0


def _trouble(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


async def _read(socket: WebSocket, state: State, lane: Lane) -> None:
    limits, faults = state.limits, 0
    bucket = Bucket(limits.messages_s, 4 * limits.messages_s)
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), limits.idle_s)
        except TimeoutError:
            raise Closing(IDLE, StateError("The stream was idle.", expected=f"a frame every {limits.idle_s:g} s")) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        if not bucket.take():
            state.metrics.count("refused_total", reason="messages")
            raise Closing(BUSY, UsageError("Too many messages.", expected=f"{limits.messages_s:g} a second"))
        try:
            if (data := message.get("bytes")) is not None:
                state.metrics.count("received_bytes_total", len(data), model=lane.served.name)
                sent = parsed(data, limits, lane.received, time.perf_counter())
                if not lane.wish.live:
                    await lane.room()
                lane.offer(sent)
            else:
                _order(lane, message.get("text") or "")
            faults = 0
        except EveryframeError as error:
            faults += 1
            if faults > FAULTS:
                raise Closing(BAD, error) from None
            await socket.send_json({"type": "error", "error": words(error)})


def _order(lane: Lane, text: str) -> None:
    try:
        order = json.loads(text)
    except (ValueError, RecursionError):
        order = None
    kind = order.get("type") if isinstance(order, dict) else None
    if kind == "reset" and isinstance(order.get("live", True), bool):
        lane.reset(order.get("live"))
    elif kind == "end":
        lane.end()
    elif kind == "video" and isinstance(order.get("codec"), str):
        lane.video(order["codec"])
    elif not (isinstance(order, dict) and "token" in order):  # said although none is needed
        raise UsageError("This is no order.", expected='a frame, or {"type": "reset", "end" or "video"}', got=text[:100])


async def _answer(socket: WebSocket, lane: Lane) -> None:
    while (answers := await lane.answers()) is not None:
        for each in answers:
            try:
                await socket.send_text(json.dumps(each, separators=(",", ":")))
            except (WebSocketDisconnect, RuntimeError):  # the client is gone
                return


async def close(socket: WebSocket, closing: Closing, counts: Message | None = None) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_json({"type": "closing", "error": words(closing.error), **(counts or {})})
        await socket.close(closing.code, closing.error.what[:120])
