"""The polling transport: GET waits for packets, POST brings some. Plain ASGI, no Django in between."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from routing_app.core.codes import Close
from routing_app.core.engineio import wire
from routing_app.core.engineio.request import Header, Request, header, respond
from routing_app.core.engineio.session import UPGRADES, Fault, Options, RequestRefused, Session
from routing_app.core.engineio.wire import Packet, Payload


class PayloadTooBig(Exception):
    """A body over the limit."""


class Polled(Protocol):
    """A session as this transport sees it: one of this process, or one that another worker owns."""

    def begin_poll(self) -> asyncio.Future[None]:
        """See Session.begin_poll; what it resolves with does not matter."""

    def end_poll(self) -> Payload:
        """See Session.end_poll."""

    def drop_poll(self) -> None:
        """See Session.drop_poll."""

    async def post(self, packets: list[Packet]) -> None:
        """See Session.post."""

    async def end(self, close: Close) -> None:
        """See Session.end."""


async def answer_open(session: Session, send: Any, headers: list[Header]) -> None:
    """Answer the first request: the opening packet alone, since some clients read no more of it."""
    payload = session.encode([session.opening(UPGRADES)])
    await session.start()
    await respond(send, 200, payload.body, headers, payload.content_type)


async def answer_get(session: Polled, receive: Any, send: Any, headers: list[Header]) -> None:
    """Wait for packets and answer them; nothing when the client goes away first. Raises RequestRefused."""
    ready = session.begin_poll()
    if await _unless_gone(ready, receive):
        payload = session.end_poll()
        await respond(send, 200, payload.body, headers, payload.content_type)
    else:
        session.drop_poll()


async def answer_post(
    session: Polled,
    request: Request,
    scope: Any,
    receive: Any,
    send: Any,
    headers: list[Header],
    options: Options,
) -> None:
    """Take packets and answer `ok`. Raises RequestRefused, WireError, PayloadTooBig."""
    body = await _read_body(scope, receive, options.max_payload)
    content_type = (header(scope, b"content-type") or "").encode("latin-1")
    packets = wire.decode_payload(request.version, body, content_type, options.max_packets)
    await session.post(packets)
    await respond(send, 200, b"ok", headers)


async def _unless_gone(ready: asyncio.Future[Any], receive: Any) -> bool:
    """Wait for `ready`; False when the client goes away first, which cancels it. Raises what `ready` does."""
    if ready.done():
        ready.result()
        return True
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((ready, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not ready.done():
            ready.cancel()
    return not ready.cancelled() and (ready.result() or True)


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_body(scope: Any, receive: Any, limit: int) -> bytes:
    """The whole body; RequestRefused when the client goes away within it.

    One that is too big is read to twice the limit before PayloadTooBig: where a server closes a connection
    with unread bytes, the client sees a reset and no answer.
    """
    announced = header(scope, b"content-length") or "0"
    if not announced.isdecimal() or int(announced) > 2 * limit:
        raise PayloadTooBig
    body, size, more = bytearray(), 0, True
    while more and size <= 2 * limit:
        message = await receive()
        if message["type"] != "http.request":
            raise RequestRefused(Fault.BAD_REQUEST)
        part: bytes = message.get("body", b"")
        size += len(part)
        if size <= limit:
            body += part
        more = message.get("more_body", False)
    if size > limit:
        raise PayloadTooBig
    return bytes(body)
