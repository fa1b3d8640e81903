"""Connections as uvicorn serves them, closed where a client is too slow, sends crumbs, or has too many."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from everyframe.serving.limits import Limits

#: seconds and bytes in which a client says that it has understood that its stream is over
_GOODBYE_S, _GOODBYE = 2.0, 65_536


def protocols(limits: Limits) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """For HTTP and for WebSockets."""

    class Http(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            others: list[Any] = list(self.connections)
            mine = sum(bool(each.client) and each.client[:1] == self.client[:1] for each in others) if self.client else 0
            if len(others) > limits.connections or mine > limits.connections_each:
                transport.abort()
                return
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._met()  # a body has a pace of its own: `gate`
            elif self._deadline is None and not self.transport.is_closing():
                self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._met()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._met()
            super().handle_websocket_upgrade(event)
            self._deadline = self.loop.call_later(0, lambda: None)  # the connection belongs to another now

        def _await_head(self) -> None:
            """All of the next request's head must come in time, however slowly its bytes do."""
            self._deadline = self.loop.call_later(limits.head_s, self.transport.abort)

        def _met(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    class WebSocket(WebSocketsSansIOProtocol):
        _late = 0  # bytes after our word that it is over

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.close_timeout = _GOODBYE_S

        def data_received(self, data: bytes) -> None:
            self._late += len(data) if self.close_sent else 0
            if self._late > _GOODBYE:
                self.transport.abort()
            else:
                super().data_received(data)

        def handle_cont(self, event: Any) -> None:
            if len(self.frames) >= limits.fragments:  # each costs more than the bytes in it
                self.frames = []
                self.conn.fail(1008, "too many fragments")
                self.handle_parser_exception()
                return
            super().handle_cont(event)

    return Http, WebSocket
