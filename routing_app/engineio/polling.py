"""The polling transport: GET waits for packets, POST brings some. Plain ASGI, no Django in between."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final, Protocol

from routing_app.core.codes import Close
from routing_app.core.durations import Times
from routing_app.core.rest.bodies import BodyTooLarge, Gone, read_body
from routing_app.engineio import jsonp, wire
from routing_app.engineio.request import EngineRequest, Header, header, respond
from routing_app.engineio.session import UPGRADES, EngineOptions, EngineSession, Fault, RequestRefused
from routing_app.engineio.wire import Packet, Payload

PIPELINE: Final = "switchboard.pipeline"
"""ASGI extension of our server: `(call) -> None`; has it called once when another request waits behind."""


class PayloadTooBig(Exception):
    """A body over the limit."""


class Polled(Protocol):
    """A session as this transport sees it: of this process, or of another worker."""

    def begin_poll(self) -> asyncio.Future[None]:
        """See EngineSession.begin_poll; what it resolves with does not matter."""

    def end_poll(self) -> Payload:
        """See EngineSession.end_poll."""

    def drop_poll(self) -> None:
        """See EngineSession.drop_poll."""

    def release(self) -> None:
        """See EngineSession.release."""

    async def post(self, packets: list[Packet]) -> None:
        """See EngineSession.post."""

    async def end(self, close: Close) -> None:
        """See EngineSession.end."""


async def answer_open(
    session: EngineSession, request: EngineRequest, send: Any, headers: list[Header]
) -> None:
    """Answer the first request: the opening packet alone, since some clients read no more of it."""
    payload = session.encode([session.opening(UPGRADES)])
    await session.start()
    await _respond(payload, request, send, headers)


async def answer_get(
    session: Polled,
    request: EngineRequest,
    scope: Any,
    receive: Any,
    send: Any,
    headers: list[Header],
    waited: Times,
) -> None:
    """Wait for packets and answer them; nothing when the client goes away first.

    Raises RequestRefused, and EngineWireError for a JSONP request of a session that polls in binary.

    A request behind the poll in the same connection may be the one that keeps the session alive, so the poll
    ends when one comes.
    """
    begun = monotonic()
    ready = session.begin_poll()
    if (on_another := (scope.get("extensions") or {}).get(PIPELINE)) is not None:
        on_another(session.release)
    if await _unless_gone(ready, receive):
        waited.observe(monotonic() - begun)
        await _respond(session.end_poll(), request, send, headers)
    else:
        session.drop_poll()


async def answer_post(
    session: Polled,
    request: EngineRequest,
    scope: Any,
    receive: Any,
    send: Any,
    headers: list[Header],
    options: EngineOptions,
) -> None:
    """Take packets and answer `ok`. Raises RequestRefused, WireError, PayloadTooBig."""
    try:
        body = await read_body(scope, receive, options.max_payload)
    except BodyTooLarge:
        raise PayloadTooBig from None
    except Gone:
        raise RequestRefused(Fault.BAD_REQUEST) from None
    content_type = (header(scope, b"content-type") or "").encode("latin-1")
    answer_type = wire.TEXT_TYPE
    if request.callback:
        body, content_type, answer_type = jsonp.payload_of(body), wire.TEXT_TYPE, jsonp.FORM_ANSWER_TYPE
    packets = wire.decode_payload(request.version, body, content_type, options.max_packets)
    await session.post(packets)
    await respond(send, 200, b"ok", headers, answer_type)


async def _respond(payload: Payload, request: EngineRequest, send: Any, headers: list[Header]) -> None:
    if request.callback:
        payload = jsonp.as_script(request.callback, payload)
        headers = [*headers, (b"x-content-type-options", b"nosniff")]
    await respond(send, 200, payload.body, headers, payload.content_type)


async def _unless_gone(ready: asyncio.Future[Any], receive: Any) -> bool:
    """Wait for `ready`; False when the client goes away first, which cancels it. Raises what `ready` does."""
    if ready.done():
        ready.result()
        return True
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((ready, gone), return_when=asyncio.FIRST_COMPLETED)
        # Looked at before it is cancelled: a task, which a poll at another worker is, ends some time after.
        if not ready.done():
            return False
        ready.result()
        return True
    finally:
        gone.cancel()
        ready.cancel()  # nothing where it is done


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
