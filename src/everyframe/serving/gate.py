"""Who may ask what: the Host and Origin of each request, the token, rates, the size and the pace of what is sent."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from everyframe.serving.limits import Limits
from everyframe.serving.metrics import Metrics
from everyframe.serving.refusals import Refused, refuse, words

Headers = dict[bytes, bytes]
#: paths that take the body of a video
LARGE = ("/v1/predict",)
_ADDRESSES = 1024  # whose rates are remembered
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"), (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"), (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """token: what clients show, or None where only this machine can ask. names: of hosts, beside addresses in numbers and
    localhost, which no rebinding of names leads to. origins: of pages elsewhere that may ask. open: paths without a token.
    """

    token: str | None = None
    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    open: frozenset[str] = frozenset()

    def shown(self, token: str) -> bool:
        """Whether this is the token, in a time that does not tell how much of it is right."""
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())

    def check(self, headers: Headers) -> None:
        """Raises Refused for a Host or Origin that is not ours."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._ours(host):
            raise refuse(
                403, "This server is not called so.", where="Host", expected="its address, or localhost", got=host or "none",
                hint="start it with --allow-host NAME, if that is its name",
            )  # fmt: skip
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin and origin not in self.origins and _place(origin).netloc != host:
            raise refuse(
                403, "Pages of other servers may not ask this one.", where="Origin", expected=f"a page of {host}", got=origin,
                hint="start the server with --allow-origin, if you trust that page",
            )  # fmt: skip
        elsewhere = headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate"
        if elsewhere and origin not in self.origins:
            raise refuse(403, "Pages of other servers may not ask this one.", where="Sec-Fetch-Site", got="cross-site")

    def _ours(self, host: str) -> bool:
        name = _place(f"//{host}").hostname or ""
        if name == "localhost" or name in self.names:
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _place(address: str) -> SplitResult:
    """Empty for what is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


class Bucket:
    """So many a second on average, and `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self, count: float = 1) -> bool:
        now = self.clock()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True


class Gate:
    """In front of the application."""

    def __init__(self, app: Any, policy: Policy, limits: Limits, metrics: Metrics) -> None:
        self._app, self._policy, self._limits, self._metrics = app, policy, limits, metrics
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        if scope.get("method") == "HEAD":  # answered as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}
        counted = self._counted(scope, send)
        try:
            self._admit(scope)
        except Refused as refused:
            self._metrics.count("refused_total", reason=str(refused.status))
            return await self._refuse(scope, receive, counted, refused)
        return await self._app(scope, self._paced(receive) if scope["type"] == "http" else receive, counted)

    def _admit(self, scope: dict[str, Any]) -> None:
        headers: Headers = dict(scope["headers"])
        self._policy.check(headers)
        bucket = self._bucket((scope.get("client") or ("",))[0])
        if not bucket.take():
            raise refuse(429, "Too many requests.", expected=f"{self._limits.requests_s:g} a second", again_s=1)
        kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        # a page cannot give a WebSocket headers: it says the token first (`streams`)
        scope["everyframe.admitted"] = self._policy.token is None
        if given and self._policy.token is not None:
            if kind.lower() != "bearer" or not self._policy.shown(given.strip()):
                bucket.take(min(10, bucket.burst / 4))
                raise refuse(401, "This is not the token.", hint="it is printed where the server was started")
            scope["everyframe.admitted"] = True
        if scope["type"] == "websocket":
            return
        if not scope["everyframe.admitted"] and scope["path"] not in self._policy.open:
            raise refuse(
                401, "A token is needed.", where="Authorization", expected="Bearer TOKEN", got="none",
                hint="it is printed where the server was started",
            )  # fmt: skip
        if b"transfer-encoding" in headers:
            raise refuse(
                411, "The length of a request must be said.", expected="Content-Length", got="Transfer-Encoding: chunked"
            )
        length, most = headers.get(b"content-length", b"0"), self._limits.body
        if scope["path"] in LARGE:
            most = self._limits.upload + self._limits.body  # a form has some words of its own
        if not length.isdigit() or int(length) > most:
            raise refuse(
                413, "The request is too large.", expected=f"at most {most:,} bytes", got=f"{length.decode('latin-1')} bytes",
                hint="send it smaller or in parts; whoever runs the server can allow more by --max-upload",
            )  # fmt: skip

    def _bucket(self, address: str) -> Bucket:
        bucket = self._buckets.pop(address, None) or Bucket(self._limits.requests_s, 4 * self._limits.requests_s)
        self._buckets[address] = bucket
        while len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket

    def _paced(self, receive: Any) -> Any:
        """A body that comes too slowly ends as a request that took too long."""
        limits = self._limits
        began, size, over = time.monotonic(), 0, False

        async def paced() -> Any:
            nonlocal began, size, over
            while not over:
                try:
                    message = await asyncio.wait_for(receive(), max(0.0, began + limits.slow_s - time.monotonic()))
                except TimeoutError:
                    message = None
                if message is not None:
                    size += len(message.get("body", b""))
                    over = not message.get("more_body", False)
                if not over and time.monotonic() >= began + limits.slow_s:
                    if size < limits.slow_rate * limits.slow_s:
                        raise refuse(408, "The request comes too slowly.", expected=f"{limits.slow_rate:,} bytes a second")
                    began, size = time.monotonic(), 0
                if message is not None:
                    return message
            return await receive()

        return paced

    def _counted(self, scope: dict[str, Any], send: Any) -> Any:
        async def counted(message: dict[str, Any]) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.count("requests_total", route=route, status=str(message["status"]))
                told = list(message.get("headers", ()))
                there = {name for name, _ in told}
                message = {**message, "headers": [*told, *(each for each in _ALWAYS if each[0] not in there)]}
            await send(message)

        return counted

    async def _refuse(self, scope: dict[str, Any], receive: Any, send: Any, refused: Refused) -> None:
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        if scope["type"] == "websocket":
            await receive()  # the word that it wants to connect
        body = json.dumps({"error": words(refused.error)}).encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in refused.more.items()]
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        with contextlib.suppress(Exception):  # the server's own, of a connection that can no longer be answered
            await send({"type": f"{kind}.start", "status": refused.status, "headers": headers})
            await send({"type": f"{kind}.body", "body": body})
