"""The addresses over HTTP."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.datastructures import UploadFile

from everyframe.errors import EveryframeError, ModelError
from everyframe.live.metrics import text as cameras_text
from everyframe.serving.answers import Camera, Cameras, Health, Model, Models, Problem, Reloaded, model_of
from everyframe.serving.pages import FILES, type_of
from everyframe.serving.refusals import Refused, refuse, status_of
from everyframe.serving.shelf import Served
from everyframe.serving.state import State
from everyframe.serving.stepper import apart
from everyframe.serving.streams import unknown
from everyframe.serving.uploads import Upload, kept, too_large

router = APIRouter()
#: what every route may answer
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request is not understood."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    403: {"model": Problem, "description": "Host or Origin is not one that this server takes."},
    404: {"model": Problem, "description": "There is no such model."},
    405: {"model": Problem, "description": "This address takes another method."},
    413: {"model": Problem, "description": "The request is too large."},
    422: {"model": Problem, "description": "A parameter is wrong, or the video cannot be decoded."},
    429: {"model": Problem, "description": "Too many requests from one address."},
}
LEAVING: dict[str, Any] = {"model": Problem, "description": "The server is stopping."}
Made = TypeVar("Made")
NDJSON = "application/x-ndjson"
_VIDEO = {"type": "string", "format": "binary", "description": "A video: MP4, Matroska, WebM, AVI, MPEG-TS, ..."}
BODY = {
    "required": True,
    "content": {
        "video/*": {"schema": _VIDEO},
        "application/octet-stream": {"schema": _VIDEO},
        "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {"file": _VIDEO}}},
    },
}
_LINE = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["prediction", "event", "end"]},
        "frame": {"type": "integer", "description": "Number of the newest frame that the network saw."},
        "pts_s": {"type": "number", "description": "Its time in the video, seconds."},
        "top": {"type": "array", "items": {"type": "object"}, "description": "The best labels: label, index, score."},
        "event": {"type": "object", "description": "Where a motion was recognized in this step: label, index, score, pts_s."},
        "complete": {"type": "boolean", "description": "end: whether all of the video was looked at."},
        "error": {"type": "object", "description": "end: what was wrong with the rest of the video."},
    },
}
Name = Annotated[str | None, Query(description="Name of the model; left out: the first.", examples=["builtin"])]


def state_of(request: Request) -> State:
    found: State = request.app.state.serving
    return found


def found(state: State, name: str | None) -> Served:
    served = state.shelf.find(name)
    if served is None:
        raise Refused(404, unknown(state, str(name)))
    return served


@router.get("/healthz", summary="Whether the server runs", tags=["operation"])
async def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz", summary="Whether it takes requests", tags=["operation"],
    responses={503: {"model": Health, "description": "It is stopping."}},
)  # fmt: skip
async def readyz(request: Request, response: Response) -> Health:
    if state_of(request).stopping.is_set():
        response.status_code = 503
        return Health(status="stopping")
    return Health(status="ok")


@router.get(
    "/metrics", summary="Counters for Prometheus", tags=["operation"], response_class=PlainTextResponse, responses=ERRORS,
)  # fmt: skip
async def metrics(request: Request) -> PlainTextResponse:
    state = state_of(request)
    now: list[tuple[str, dict[str, str], float]] = [("steps_waiting", {}, state.stepper.waiting)]
    for served in state.shelf.models.values():
        labels = {"model": served.name}
        now += [
            ("streams", labels, served.streams), ("model_generation", labels, served.edition.generation),
            ("model_loaded_timestamp_seconds", labels, served.edition.loaded_at),
        ]  # fmt: skip
    text = state.metrics.text(now)
    if state.cameras:
        counts = {key: count for watched in state.cameras.values() for key, count in watched.counts.items()}
        text += cameras_text((watched.camera.status for watched in state.cameras.values()), counts)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


@router.get("/v1/cameras", summary="Cameras of the server", tags=["cameras"], responses=ERRORS)
async def cameras(request: Request) -> Cameras:
    """Those of `--camera`. What they see, and each prediction, goes over a WebSocket: `/v1/cameras/NAME`."""
    return Cameras(cameras=[Camera(**watched.status()) for watched in state_of(request).cameras.values()])


@router.get("/v1/models", summary="All models", tags=["models"], responses=ERRORS)
async def models(request: Request) -> Models:
    return Models(models=[model_of(served) for served in state_of(request).shelf.models.values()])


@router.get("/v1/model", summary="One model", tags=["models"], responses=ERRORS)
async def model(request: Request, model: Name = None) -> Model:
    """Labels, rate, event rule: what a client needs to show its answers."""
    return model_of(found(state_of(request), model))


@router.post(
    "/v1/models/{name}/reload", summary="Load a model's file again", tags=["models"],
    responses=ERRORS | {
        409: {"model": Problem, "description": "The file cannot be served; the one before still is."}, 503: LEAVING,
    },
)  # fmt: skip
async def reload(request: Request, name: str) -> Reloaded:
    """From the file that the server was started with. It is loaded and tried beside the one that runs, which goes on if the new
    one is wrong. Streams go to it at their next frame, with a fresh state, and are told (`swapped`).
    """
    state = state_of(request)
    served = found(state, name)
    try:
        changes = await _done(served.reload, state)
    except EveryframeError as error:
        raise Refused(409, ModelError("The new file cannot be served.", where=name, got=error.what)) from None
    return Reloaded(model=model_of(served), changes=list(changes))


@router.get(
    "/v1/models/{name}/browser/{file}", summary="What a browser runs by itself", tags=["models"], response_class=Response,
    responses=ERRORS | {
        409: {"model": Problem, "description": "No browser can run this model, or there is no compiler here."}, 503: LEAVING,
    },
)  # fmt: skip
async def browser(request: Request, name: str, file: Literal[FILES]) -> Response:  # type: ignore[valid-type]
    """Facts, weights and WebAssembly of a model, as `everyframe bundle --target web` makes them. The first time takes as long as
    the compiler does.
    """
    state = state_of(request)
    served = found(state, name)
    try:
        data = await _done(partial(state.browsers.get, served, file), state)
    except EveryframeError as error:
        raise Refused(409, ModelError(error.what, where=name, hint="let the server recognize")) from None
    return Response(data, media_type=type_of(file))


@router.post(
    "/v1/predict", summary="Recognize what happens in a video", tags=["recognition"], response_class=Response,
    openapi_extra={"requestBody": BODY},
    responses=ERRORS | {
        200: {"content": {NDJSON: {"schema": _LINE}}, "description": "A line of JSON for each prediction, as it comes; the last "
              "one is of type `end` and says whether the video was complete. Without it the answer was cut off."},
        408: {"model": Problem, "description": "The video came too slowly."},
        411: {"model": Problem, "description": "The request did not say its length."},
        503: {"model": Problem, "description": "As many videos as the server takes are being looked at, or it is stopping."},
        507: {"model": Problem, "description": "There is no room for the video."},
    },
)  # fmt: skip
async def predict(
    request: Request,
    model: Name = None,
    top_k: Annotated[int, Query(ge=1, le=1000, description="Labels of each prediction.")] = 5,
    scores: Annotated[bool, Query(description="The scores of all labels, too.")] = False,
    only: Annotated[Literal["all", "events"], Query(description="Leave out all but events.")] = "all",
) -> Response:
    """The video is the body, or `file` of a form. It is kept in a temporary file while it is looked at, and nowhere else."""
    state = state_of(request)
    served = found(state, model)
    if state.stopping.is_set():
        raise _stopping()
    if state.uploads >= state.limits.uploads:
        raise refuse(503, "As many videos as the server takes are being looked at.", got=state.uploads, again_s=5)
    state.uploads += 1
    made, name = None, ""
    try:
        path, name = await _unless_stopped(_received(request, state), state)
        made = Upload(
            path, name, served.program, state.stepper, state.metrics, state.limits, model=served.name, top_k=top_k, scores=scores,
            only=only, stopping=state.stopping,
        )  # fmt: skip
        state.look(made)
        return _Lines(await _portion(made, made.first, state), made, state)
    except BaseException as error:
        _released(made, state)
        if isinstance(error, EveryframeError):
            error.where = name
            raise Refused(status_of(error), error) from None
        raise


def _stopping() -> Refused:
    return refuse(503, "The server is stopping.", again_s=5)


def _released(made: Upload | None, state: State) -> None:
    state.uploads -= 1
    if made is not None:
        state.looking.discard(made)
        made.leave()
        threading.Thread(target=made.close, daemon=True).start()


async def _done(work: Callable[[], Made], state: State) -> Made:
    """What it returns or raises, in a thread. Raises Refused where the server's end does not wait for it any longer."""
    task = asyncio.ensure_future(apart(work))
    try:
        if await state.awaited(task):
            return task.result()
        raise _stopping()
    finally:
        task.cancel()


async def _portion(made: Upload, work: Callable[[], None], state: State) -> list[bytes]:
    """What `work` finds, in a thread, or has found where the server's end does not wait for it any longer."""
    try:
        await _done(work, state)
    except Refused:
        made.cut()
    return made.taken()


async def _unless_stopped(coming: Coroutine[Any, Any, tuple[Path, str]], state: State) -> tuple[Path, str]:
    """Raises Refused where the server stops before all of a video is there."""
    tasks = asyncio.create_task(coming), asyncio.create_task(state.stopped.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise _stopping()
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()


class _Lines(StreamingResponse):
    """Whoever asked may leave at any time, also before the first line."""

    def __init__(self, first: list[bytes], made: Upload, state: State) -> None:
        async def lines() -> AsyncIterator[bytes]:
            portion = first
            while portion:
                yield b"".join(portion)
                portion = await _portion(made, made.portion, state)

        super().__init__(lines(), media_type=NDJSON)
        self._made, self._state = made, state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _released(self._made, self._state)


async def _received(request: Request, state: State) -> tuple[Path, str]:
    """A temporary file, and what its sender calls it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return await kept(request.stream(), state.limits), "the video"
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise refuse(
                400, "The form has no video.", expected="a part `file` with a file name", got=", ".join(form) or "nothing"
            )
        if (file.size or 0) > state.limits.upload:
            raise too_large(file.size or 0, state.limits)

        async def parts() -> AsyncIterator[bytes]:
            while part := await file.read(1 << 20):
                yield part

        name = re.sub(r"[^\w .()+-]", "_", (file.filename or "").replace("\\", "/").rpartition("/")[2])[:100]
        return await kept(parts(), state.limits), name or "the video"
