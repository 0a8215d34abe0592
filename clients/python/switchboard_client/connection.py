"""The Connection: `id`, `send`, `request`, `close`; it comes back by itself, with its subscriptions.

What is published to addresses with history while it was away is recovered, where that was asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed as SocketClosed

from switchboard_client import wire
from switchboard_client.context import Context
from switchboard_client.deliveries import Delivery, Position, Presence
from switchboard_client.dialing import LATER, Dialer, closed_by, may_pass
from switchboard_client.errors import ConnectionClosed, RequestError
from switchboard_client.pending import Request
from switchboard_client.renewal import keep_fresh
from switchboard_client.running import Running, Writes
from switchboard_client.subscriptions import OnGap, OnRecovered, Options, Subscriptions
from switchboard_client.tokens import TokenSource
from switchboard_client.waiting import Replied, Waiting
from switchboard_client.wire import Answer

logger = logging.getLogger(__name__)

GIVEN_UP: Final = 4000
"""The close of this end when it cannot resume and does not come back; LATER when it does."""

Handler = Callable[..., Any]


class Connection:
    """One connection to the server."""

    def __init__(
        self, dialer: Dialer, reconnect: bool, api_key: str = "", token: TokenSource | None = None
    ) -> None:
        self.id = str(uuid.uuid4())
        """A version 4 uuid of this end; the server's own id for it is in the answer to `whoami`."""
        self._dialer = dialer
        self._reconnect = reconnect
        self._socket: ClientConnection | None = None
        self._open = asyncio.Event()
        self._ended: asyncio.Future[ConnectionClosed] = asyncio.get_running_loop().create_future()
        self._running = Running()
        self._waiting = Waiting(began=self._running.wake, send=self._send_again)
        self._ready = False
        """True while the socket has the rights and the subscriptions."""
        self._subscriptions = Subscriptions()
        self._api_key = api_key
        self._token = token
        self._renewing: asyncio.Task[None] | None = None
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._writes = Writes()
        self._reader: asyncio.Task[None] | None = None
        self._leaving = False

    # --- the four members --------------------------------------------------------------------------------

    async def send(
        self, message: Mapping[str, Any], *, timeout: float | None = None, binary: bool = False
    ) -> None:
        """Send a message; returns when the server has it, or where it gives no receipts when it is sent.

        Raises ConnectionClosed, TimeoutError, and TypeError or ValueError for what cannot be sent.
        """
        if not self.receipts:
            await self.write(wire.encode_message(message), binary)
            return
        key = self._key(message)
        await self._ask(key, wire.encode_message(message, key=key, receipt=True), timeout, binary)

    def request(
        self, message: Mapping[str, Any], *, timeout: float | None = None, binary: bool = False
    ) -> Request:
        """Send a request; await the result for the reply, or iterate it for the partials.

        Raises TypeError or ValueError at once for what cannot be sent.
        """
        return self._ask_for(message, timeout, binary)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave, for good. Raises ValueError for a code or reason that may not be sent."""
        wire.check_close(code, reason)
        self._reconnect, self._leaving = False, True
        self._running.wake()
        if self._socket is not None:
            await self._socket.close(code, reason)
        if self._reader is not None:
            if self._socket is None:
                self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._end(ConnectionClosed(code, reason))

    # --- the other protocols -----------------------------------------------------------------------------

    async def publish(
        self, addresses: Iterable[str], message: Any, *, id: str | None = None, timeout: float | None = None
    ) -> Answer:
        """Publish to addresses of any protocol. Raises RequestError without the right to.

        The `id`, of 1 to 64 printable characters, is one of its own where none is given. While the connection
        comes back a publish waits, and it is sent again, for 240 s at most: it arrives once.
        """
        publish = {"type": "publish", "addresses": list(addresses), "message": message, "id": id}
        return await self._ask_once(wire.with_id(publish), timeout)

    async def publish_batch(
        self, messages: Iterable[Mapping[str, Any]], *, timeout: float | None = None
    ) -> Answer:
        """Publish several messages, `{"addresses", "message", "id"}` each, in order; as `publish`, once.

        The answer has `results`: one for each in order, as `publish` answers, or `{"error": "..."}`.
        """
        requests = [
            self._ask_once({"type": "publish_batch", "messages": some}, timeout)
            for some in wire.batches(map(wire.with_id, messages), wire.size)
        ]
        return Answer(results=[result for request in requests for result in (await request)["results"]])

    async def history(
        self,
        address: str,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Answer:
        """Messages that are kept of an address, as `GET /api/history`: the newest, or those after `since`.

        Raises RequestError: `not_found` where no history is kept.
        """
        asked: dict[str, Any] = {"type": "history", "address": address}
        if since is not None:
            asked["since"] = since
        if limit is not None:
            asked["limit"] = limit
        if reverse:
            asked["reverse"] = True
        return await self.request(asked)

    async def subscribe(
        self,
        *addresses: str,
        recover: bool = False,
        last: int = 0,
        notices: bool = False,
        on_recovered: OnRecovered | None = None,
        on_gap: OnGap | None = None,
    ) -> None:
        """Subscribe to addresses, also after a reconnect. Raises RequestError without the right to.

        With `recover` what was missed comes first after a reconnect: `on_recovered(address, position)` tells
        that it does, up to there, and `on_gap(address)` that it cannot; without them the handlers of the
        events `recovered` and `gap` do. `last`: so many messages that are kept of each address come at once.
        `notices`: the handler of `presence` is told who comes and goes.
        """
        options = Options(recover, last, notices, on_recovered, on_gap)
        await self._subscribe(dict.fromkeys(addresses, options))

    async def _subscribe(self, wanted: Mapping[str, Options], again: bool = False) -> None:
        requests = [
            self._ask_for(asked, replied=partial(self._subscribed, asked, wanted, again))
            for asked in self._subscriptions.requests(wanted, again)
        ]
        for request in requests:
            await request

    def _subscribed(
        self,
        asked: Mapping[str, Any],
        wanted: Mapping[str, Options],
        again: bool,
        reply: dict[str, Any],
    ) -> None:
        """Called before anything that comes after the reply is read: what was missed begins there."""
        for address, options, position in self._subscriptions.take(asked, wanted, again, reply):
            if position is None:
                self._call("gap", address, own=options.on_gap)
            else:
                self._call("recovered", address, position, own=options.on_recovered)

    async def unsubscribe(self, *addresses: str) -> None:
        """Unsubscribe from addresses."""
        self._subscriptions.remove(addresses)
        requests = [
            # Once more at the reply: a `subscribe` that was under way may have been answered meanwhile.
            self._ask_for(
                {"type": "unsubscribe", "addresses": some}, replied=partial(self._unsubscribed, some)
            )
            for some in wire.batches(addresses, wire.size)
        ]
        for request in requests:
            await request

    def _unsubscribed(self, addresses: Iterable[str], reply: dict[str, Any]) -> None:
        self._subscriptions.remove(addresses)

    async def authenticate(self, key: str) -> Answer:
        """Take the rights of an API key, also after a reconnect. Raises RequestError for a wrong one."""
        answer = await self._ask_for_rights(key)
        self._api_key = key
        return answer

    def _ask_for_rights(self, key: str) -> Request:
        return self.request({"type": "authenticate", "api_key": key})

    # --- handlers ----------------------------------------------------------------------------------------

    def on(self, event: str, *args: Any) -> Any:
        """Register a handler: `on("request", "type", handler)`, or as decorator `@on("request", "type")`.

        Events: `message` and `request`, with or without a type, get a Context. `delivery` gets a Delivery,
        `presence` a Presence, `reconnect` this connection, `close` a ConnectionClosed, `error` an exception.
        `recovered` gets an address and a position. `gap` gets this connection where anything may be missing,
        an address where it is one that recovers. A handler may be a coroutine function. There is one handler
        for an event and type.
        """
        handler = args[-1] if args and callable(args[-1]) else None
        kind = wire.name(args[0]) if args and not callable(args[0]) else ""

        def register(function: Handler) -> Handler:
            self._handlers[event, kind] = function
            return function

        return register if handler is None else register(handler)

    # --- state -------------------------------------------------------------------------------------------

    @property
    def receipts(self) -> bool:
        """True when the other end tells of messages that they have come."""
        return self._socket is not None and self._socket.subprotocol == wire.RECEIPTS

    @property
    def is_open(self) -> bool:
        """True while there is a socket."""
        return self._socket is not None

    async def opened(self) -> None:
        """Wait until there is a socket again. Raises ConnectionClosed when there will be none."""
        await self._open.wait()
        if self._ended.done():
            raise self._ended.result()

    async def closed(self) -> ConnectionClosed:
        """Wait until the connection has ended for good; how it ended."""
        return await asyncio.shield(self._ended)

    async def write(self, text: str, binary: bool = False) -> None:
        """Send a frame. Raises ConnectionClosed."""
        if self._socket is None:
            raise ConnectionClosed(1006, "not connected")
        try:
            await self._writes.post(self._socket, text, binary)
        except SocketClosed as error:
            raise closed_by(error) from None

    async def start(self) -> None:
        """Open the first socket; `connect` calls it."""
        self._socket = await self._dialer.dial_first(patient=self._reconnect)
        self._ready = True
        self._open.set()
        self._reader = asyncio.ensure_future(self._live(self._socket))
        self._renew_token()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    # --- requests ----------------------------------------------------------------------------------------

    def _ask_for(
        self,
        message: Mapping[str, Any],
        timeout: float | None = None,
        binary: bool = False,
        replied: Replied | None = None,
    ) -> Request:
        key = self._key(message)
        text = wire.encode(message, key=key, direction="REQUEST")
        return self._ask(key, text, timeout, binary, replied)

    def _ask(
        self, key: Any, text: str, timeout: float | None, binary: bool, replied: Replied | None = None
    ) -> Request:
        request = self._waiting.add(wire.name(key), timeout, replied)
        if self._socket is None:
            request.fail(ConnectionClosed(1006, "not connected"))
        else:
            self._writes.post(self._socket, text, binary)
        return request

    def _ask_once(self, message: Mapping[str, Any], timeout: float | None) -> Request:
        """Ask for what arrives once, however often it is sent; behind what is to be sent again."""
        key = wire.new_key()
        text = wire.encode(message, key=key, direction="REQUEST")
        keeps = self._reconnect and not self._ended.done() and self._waiting.has_room
        if keeps:
            request = self._waiting.keep(key, timeout, text=text, is_sent=self._ready)
        else:
            request = self._waiting.add(key, timeout)
        if not self._send_again(text) and not keeps:
            request.fail(ConnectionClosed(1006, "not connected"))
        return request

    def _send_again(self, text: str) -> bool:
        """Send what arrives once; False where `_resume` is going to."""
        if self._socket is None or not self._ready:
            return False
        self._writes.post(self._socket, text)
        return True

    def _key(self, message: Mapping[str, Any]) -> Any:
        key = message.get("key") or wire.new_key()
        if not (name := wire.name(key)) or name in self._waiting:
            raise ValueError("a key must be a string or a number, and not that of another request")
        return key

    # --- the life of a connection ------------------------------------------------------------------------

    async def _live(self, socket: ClientConnection) -> None:
        try:
            await self._come_back_from(socket)
        except Exception as error:
            logger.exception("reading has failed")
            socket_left, closed = self._socket, ConnectionClosed(1006, "reading has failed")
            self._lose(closed)
            self._call("error", error)
            self._end(closed)
            if socket_left is not None:
                await socket_left.close(GIVEN_UP, closed.reason)

    async def _come_back_from(self, socket: ClientConnection) -> None:
        """Read from a socket, and from each that comes after it, until none does."""
        while True:
            closed = await self._read(socket)
            self._lose(closed)
            again = await self._dialer.dial_again(closed.code) if self._reconnect else None
            if again is None:
                self._end(closed)
                return
            self._socket = socket = again
            # Before any other task can send on the new socket: its request may need the rights.
            rights = self._ask_for_rights(self._api_key) if self._api_key else None
            self._open.set()
            self._running.spawn(self._resume(again, rights))
            self._renew_token()

    def _renew_token(self) -> None:
        """Replace the access token of this socket before it expires, until the socket is lost."""
        if self._token is not None and self._token.renews:
            renewing = keep_fresh(self._token, self.request, lambda error: self._call("error", error))
            self._renewing = asyncio.ensure_future(renewing)

    async def _read(self, socket: ClientConnection) -> ConnectionClosed:
        lost = asyncio.ensure_future(socket.wait_closed())
        lost.add_done_callback(lambda _: self._running.wake())
        try:
            async for data in socket:
                self._take(data)
                # Any handler may wait for what another one asks, and answers come through this loop; so does
                # the end, for which they may wait, too.
                while self._running.is_full and not (self._waiting or self._leaving or lost.done()):
                    await self._running.changed()
        except SocketClosed as error:
            return closed_by(error)
        finally:
            lost.cancel()
        return ConnectionClosed(socket.close_code or 1006, socket.close_reason or "")

    def _lose(self, closed: ConnectionClosed) -> None:
        self._socket, self._ready = None, False
        if self._renewing is not None:
            self._renewing.cancel()
        self._open.clear()
        self._waiting.fail(closed, but_kept=True)

    def _end(self, closed: ConnectionClosed) -> None:
        if not self._ended.done():
            self._ended.set_result(closed)
            self._waiting.fail(closed, but_kept=False)
            self._open.set()  # callers of `opened` learn that no socket will come
            self._call("close", closed)

    async def _resume(self, socket: ClientConnection, rights: Request | None) -> None:
        """After a reconnect: take the rights, subscribe again, publish what has no answer, then say so."""
        try:
            if rights is not None:
                await rights
            await self._subscribe(self._subscriptions.options, again=True)
        except ConnectionClosed:
            return
        except RequestError as error:
            self._call("error", error)
            code = LATER if may_pass(error.code) else GIVEN_UP
            await socket.close(code, "could not subscribe again")
            return
        if self._socket is not socket:
            return
        self._ready = True
        for text in self._waiting.again():
            self._writes.post(socket, text)
        self._dialer.settled()
        self._call("reconnect", self)

    # --- frames ------------------------------------------------------------------------------------------

    def _take(self, data: str | bytes) -> None:
        try:
            direction, message = wire.decode(data)
        except ValueError as error:
            self._call("error", error)
            return
        if direction in ("MESSAGE", "REQUEST"):
            self._handle(direction, message)
        else:
            self._waiting.take(direction, message)

    def _handle(self, direction: str, message: dict[str, Any]) -> None:
        if direction == "MESSAGE" and self.receipts and message.get("receipt") is True and "key" in message:
            receipt = wire.encode({}, key=message["key"], direction="REPLY", receipt=True)
            self._running.spawn(self.write(receipt))
        context = Context(self, direction, message)
        if direction == "MESSAGE" and self._is_own(context):
            return
        handler = self._find(direction.lower(), context.type)
        if handler is not None:
            self._running.spawn(self._run(handler, context))
        elif context.is_request:
            self._running.spawn(self._fail(context, "unhandled", "no handler takes this type of request"))

    def _is_own(self, context: Context) -> bool:
        """Deliveries, notices and gaps go to handlers of their own, where there are some."""
        message = context.message
        if context.type == "delivery":
            if not self._subscriptions.is_new(message):
                return True
            return self._call("delivery", Delivery.of(message))
        if context.type == "presence":
            return self._call("presence", Presence.of(message))
        if context.type == "gap":
            is_told = self._call("gap", self)
            for address, options in self._subscriptions.recovering():  # it may be one of these
                self._call("gap", address, own=options.on_gap)
            return is_told
        return False

    def _find(self, event: str, type: str) -> Handler | None:
        return self._handlers.get((event, type)) or self._handlers.get((event, ""))

    async def _run(self, handler: Handler, context: Context) -> None:
        try:
            await _result(handler(context))
            if not context.answered:
                await self._fail(context, "unanswered", "the handler gave no answer")
        except ConnectionClosed:
            pass
        except Exception as error:
            logger.exception("a handler failed")
            self._call("error", error)
            await self._fail(context, "internal", "Internal error")

    async def _fail(self, context: Context, code: str, message: str) -> None:
        if not context.answered and self.is_open:
            await context.error({"code": code, "message": message})

    def _call(self, event: str, *arguments: Any, own: Handler | None = None) -> bool:
        """Run `own`, or else the handler of an event; one that fails is logged. False when there is none."""
        if (handler := own or self._find(event, "")) is None:
            return False
        try:
            result = handler(*arguments)
        except Exception:
            logger.exception("the handler of %s failed", event)
            return True
        if inspect.isawaitable(result):
            self._running.spawn(_result(result))
        return True


async def _result(result: Awaitable[Any] | Any) -> None:
    if inspect.isawaitable(result):
        await result
