"""All of it as one application (ASGI)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from everyframe.errors import Defect, EveryframeError, UsageError
from everyframe.serving import routes, streams
from everyframe.serving.gate import Gate
from everyframe.serving.pages import page, type_of
from everyframe.serving.refusals import Refused, status_of, words
from everyframe.serving.state import State
from everyframe.serving.stepper import apart
from everyframe.version import __version__

#: seconds between looks at the files of models
LOOK_S = 1.0
#: for which the end waits for cameras, which were told of it before
ENDING_S = 0.5
_ABOUT = """
Recognizes actions and gestures in videos and live streams of frames, at every frame.

Errors are JSON: `{"error": {"kind", "what", "where", "expected", "got", "hint"}}`. Where the server was started with a token,
requests carry `Authorization: Bearer TOKEN`; only `/healthz`, `/readyz` and the page itself do without.

**Live frames** go over a WebSocket, `/v1/stream?model=NAME&top_k=5&scores=false&live=true`, which OpenAPI cannot describe:

- a client sends binary messages, a frame each: its time in seconds (float64), width and height (uint16 each), little endian, then
  RGB bytes; or 0 and 0, then a JPEG; or, after `{"type": "video", "codec": "h264"}` (or `vp9`, `vp8`), 0 and 1, then a key frame
  of that codec, 0 and 2, then any other picture.
- orders are text: `{"type": "reset"}` makes the next frame the first, `{"type": "end"}` ends a video.
  Where a token is needed and no header carries it, `{"token": "..."}` comes first.
- the server says `ready` (the model), then to each frame an `answer`: `frame` (its number), `pts_s`, `predictions` (none, one or
  more, each with its `event` where a motion was recognized), `received` and `dropped` (frames so far), `ms` (from arrival to
  answer). While two frames are unanswered, the older one that waits is dropped for a new one, and counted. `swapped` says that
  the model was exchanged and the state is fresh, `closing` why the connection ends, and behind a stream `received`, `processed`,
  `dropped` and `unanswered`: the numbers of frames that came and get no answer any more.
- which frames the network sees follows from their times alone: those nearest to the ticks of its own rate.

**Cameras of the server** are listened to by `/v1/cameras/NAME?pictures=true&predictions=true`: text messages `prediction`,
`state`, `gap` and `swapped`, and binary ones, which are JPEGs of the newest picture, up to five a second.
"""


def application(state: State) -> Gate:
    """The application behind its gate. Adds the page's paths to those that are open."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch(state))
        for watched in state.cameras.values():
            watched.start()
        yield
        state.stop()
        watching.cancel()
        ending = [apart(partial(watched.camera.join, ENDING_S)) for watched in state.cameras.values()]
        await asyncio.gather(watching, *ending, return_exceptions=True)
        state.stepper.close()

    app = FastAPI(
        title="everyframe", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )  # fmt: skip
    app.state.serving = state
    app.include_router(routes.router)
    app.include_router(streams.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(EveryframeError, _wrong)
    app.add_exception_handler(RequestValidationError, _misused)
    app.add_exception_handler(HTTPException, _elsewhere)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _broken)
    for path, data in page(state.shelf).items():
        app.add_api_route(path, _file(path, data), methods=["GET"], include_in_schema=False)
    return Gate(app, state.policy, state.limits, state.metrics)


def _file(path: str, data: bytes) -> Any:
    kind = type_of(path if path != "/" else "/index.html")

    async def give() -> Response:
        return Response(data, media_type=kind)

    return give


async def watch(state: State) -> None:
    """Files of models that are written again are loaded again."""
    while True:
        await asyncio.sleep(LOOK_S)
        for served in state.shelf.models.values():
            if served.watched and await asyncio.to_thread(served.changed):
                with contextlib.suppress(EveryframeError):  # told by /v1/models
                    await apart(served.reload)


def _said(status: int, error: EveryframeError, more: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": words(error)}, status, {"Connection": "close", **(more or {})})


async def _refused(_: Request, error: Any) -> JSONResponse:
    return _said(error.status, error.error, error.more)


async def _wrong(_: Request, error: Any) -> JSONResponse:
    return _said(status_of(error), error)


async def _left(_: Request, error: Any) -> JSONResponse:
    """Who sent a request went away before its end, and will not read this."""
    return _said(400, UsageError("The request ended before all of it had come."))


async def _broken(_: Request, error: Any) -> JSONResponse:
    """What went wrong is in the server's log."""
    return _said(500, Defect("everyframe itself failed at this request.", got=type(error).__name__, hint="please report it"))


async def _misused(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"])
    return _said(422, UsageError("A parameter is wrong.", where=where, got=first["msg"]))


async def _elsewhere(request: Request, error: Any) -> JSONResponse:
    if error.status_code == 404:
        where, hint = request.url.path[:200], "/openapi.json has all addresses"
        return _said(404, UsageError("There is nothing at this address.", where=where, hint=hint))
    if error.status_code == 405:
        return _said(405, UsageError("This address takes another method.", got=request.method), dict(error.headers or {}))
    return _said(error.status_code, UsageError("The request is not understood.", got=str(error.detail)[:200]))
