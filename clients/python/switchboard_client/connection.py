"""The Connection: `id`, `send`, `request`, `close`; it comes back by itself, with its subscriptions."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.typing import Subprotocol

from switchboard_client import wire
from switchboard_client.context import Context
from switchboard_client.dialing import LATER, Dialer
from switchboard_client.errors import ConnectionClosed, RequestError
from switchboard_client.pending import Request
from switchboard_client.wire import Answer

logger = logging.getLogger(__name__)

MAX_RUNNING: Final = 1000
"""Handlers that run before reading pauses."""

PASSING: Final = frozenset({"unavailable", "internal"})
"""Codes of errors that may be gone at the next attempt."""
GIVEN_UP: Final = 4000
"""The close of this end when it cannot resume and does not come back; LATER when it does."""

Handler = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was published to an address which this connection subscribes to."""

    address: str
    message: Any
    event: str = "message"


class Connection:
    """One connection to the server."""

    def __init__(self, dialer: Dialer, reconnect: bool, api_key: str = "") -> None:
        self.id = str(uuid.uuid4())
        """A version 4 uuid of this end; the server's own id for it is in the answer to `whoami`."""
        self._dialer = dialer
        self._reconnect = reconnect
        self._socket: ClientConnection | None = None
        self._open = asyncio.Event()
        self._ended: asyncio.Future[ConnectionClosed] = asyncio.get_running_loop().create_future()
        self._pending: dict[str, Request] = {}
        self._addresses: dict[str, None] = {}
        self._api_key = api_key
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None

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
        key = self._key(message)
        return self._ask(key, wire.encode(message, key=key, direction="REQUEST"), timeout, binary)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave, for good. Raises ValueError for a code or reason that may not be sent."""
        wire.check_close(code, reason)
        self._reconnect = False
        if self._socket is not None:
            await self._socket.close(code, reason)
        if self._reader is not None:
            if self._socket is None:
                self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._end(ConnectionClosed(code, reason))

    # --- the other protocols -----------------------------------------------------------------------------

    async def publish(self, addresses: Iterable[str], message: Any) -> Answer:
        """Publish to addresses of any protocol. Raises RequestError without the right to."""
        return await self.request({"type": "publish", "addresses": list(addresses), "message": message})

    async def subscribe(self, *addresses: str) -> None:
        """Subscribe to addresses, also after a reconnect. Raises RequestError without the right to."""
        await self._ask_of("subscribe", addresses)
        self._addresses.update(dict.fromkeys(addresses))

    async def unsubscribe(self, *addresses: str) -> None:
        """Unsubscribe from addresses."""
        for address in addresses:
            self._addresses.pop(address, None)
        await self._ask_of("unsubscribe", addresses)

    async def authenticate(self, key: str) -> Answer:
        """Take the rights of an API key, also after a reconnect. Raises RequestError for a wrong one."""
        answer = await self._ask_for_rights(key)
        self._api_key = key
        return answer

    def _ask_for_rights(self, key: str) -> Request:
        return self.request({"type": "authenticate", "api_key": key})

    async def _ask_of(self, type: str, addresses: Iterable[str]) -> None:
        """Ask in as many requests as it takes for each to be within the server's bounds."""
        requests = [self.request({"type": type, "addresses": some}) for some in wire.batches(addresses)]
        for request in requests:
            await request

    # --- handlers ----------------------------------------------------------------------------------------

    def on(self, event: str, *args: Any) -> Any:
        """Register a handler: `on("request", "type", handler)`, or as decorator `@on("request", "type")`.

        Events: `message` and `request`, with or without a type, get a Context. `delivery` gets a Delivery,
        `gap` and `reconnect` get this connection, `close` gets a ConnectionClosed, `error` an exception. A
        handler may be a coroutine function. There is one handler for an event and type.
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
            await self._post(self._socket, text, binary)
        except SocketClosed as error:
            raise _closed(error) from None

    def _post(self, socket: ClientConnection, text: str, binary: bool) -> asyncio.Task[None]:
        """Send a frame after those that were posted before."""
        task = asyncio.ensure_future(socket.send(text.encode() if binary else text))
        self._writes.add(task)
        task.add_done_callback(self._written)
        return task

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # the reader tells of a lost socket

    async def start(self) -> None:
        """Open the first socket; `connect` calls it."""
        self._socket = await self._dialer.dial_first(patient=self._reconnect)
        self._open.set()
        self._reader = asyncio.ensure_future(self._live(self._socket))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    # --- requests ----------------------------------------------------------------------------------------

    def _ask(self, key: Any, text: str, timeout: float | None, binary: bool) -> Request:
        request, name = Request(timeout), wire.name(key)
        if self._socket is None:
            request.fail(ConnectionClosed(1006, "not connected"))
            return request
        self._pending[name] = request
        request.on_end(lambda: self._forget(name, request))
        self._post(self._socket, text, binary)
        return request

    def _forget(self, name: str, request: Request) -> None:
        if self._pending.get(name) is request:  # a later request may have the same key
            del self._pending[name]

    def _key(self, message: Mapping[str, Any]) -> Any:
        key = message.get("key") or wire.new_key()
        if not (name := wire.name(key)) or name in self._pending:
            raise ValueError("a key must be a string or a number, and not that of another request")
        return key

    # --- the life of a connection ------------------------------------------------------------------------

    async def _live(self, socket: ClientConnection) -> None:
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
            self._spawn(self._resume(again, rights))

    async def _read(self, socket: ClientConnection) -> ConnectionClosed:
        try:
            async for data in socket:
                self._take(data)
                # A handler that waits for the server is not counted: its answer comes through this loop.
                while len(self._tasks) - len(self._pending) >= MAX_RUNNING:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        except SocketClosed as error:
            return _closed(error)
        return ConnectionClosed(socket.close_code or 1006, socket.close_reason or "")

    def _lose(self, closed: ConnectionClosed) -> None:
        self._socket = None
        self._open.clear()
        for request in list(self._pending.values()):
            request.fail(closed)

    def _end(self, closed: ConnectionClosed) -> None:
        if not self._ended.done():
            self._ended.set_result(closed)
            self._open.set()  # callers of `opened` learn that no socket will come
            self._call("close", "", closed)

    async def _resume(self, socket: ClientConnection, rights: Request | None) -> None:
        """After a reconnect: take the rights, subscribe to the addresses of before, then say so."""
        try:
            if rights is not None:
                await rights
            await self._ask_of("subscribe", self._addresses)
        except ConnectionClosed:
            return
        except RequestError as error:
            self._call("error", "", error)
            code = LATER if error.code in PASSING else GIVEN_UP
            await socket.close(code, "could not subscribe again")
            return
        self._dialer.settled()
        self._call("reconnect", "", self)

    # --- frames ------------------------------------------------------------------------------------------

    def _take(self, data: str | bytes) -> None:
        try:
            direction, message = wire.decode(data)
        except ValueError as error:
            self._call("error", "", error)
            return
        if direction in ("MESSAGE", "REQUEST"):
            self._handle(direction, message)
        else:
            self._answered(direction, message)

    def _answered(self, direction: str, message: dict[str, Any]) -> None:
        request = self._pending.get(wire.name(message.get("key")))
        if request is None:
            logger.debug("an answer to no request")
        elif direction == "PARTIAL":
            request.partial(message)
        elif direction == "REPLY":
            request.reply(message)
        else:
            request.fail(RequestError(message))

    def _handle(self, direction: str, message: dict[str, Any]) -> None:
        if direction == "MESSAGE" and self.receipts and message.get("receipt") is True and "key" in message:
            receipt = wire.encode({}, key=message["key"], direction="REPLY", receipt=True)
            self._spawn(self._send_quietly(receipt))
        context = Context(self, direction, message)
        if direction == "MESSAGE" and self._is_own(context):
            return
        handler = self._find(direction.lower(), context.type)
        if handler is not None:
            self._spawn(self._run(handler, context))
        elif context.is_request:
            self._spawn(self._fail(context, "unhandled", "no handler takes this type of request"))

    def _is_own(self, context: Context) -> bool:
        """Deliveries and gaps go to handlers of their own, where there are some."""
        message = context.message
        if context.type == "delivery" and ("delivery", "") in self._handlers:
            event = str(message.get("event") or "message")
            self._call("delivery", "", Delivery(str(message.get("address")), message.get("message"), event))
            return True
        if context.type == "gap" and ("gap", "") in self._handlers:
            self._call("gap", "", self)
            return True
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
            self._call("error", "", error)
            await self._fail(context, "internal", "Internal error")

    async def _fail(self, context: Context, code: str, message: str) -> None:
        if not context.answered and self.is_open:
            await context.error({"code": code, "message": message})

    def _call(self, event: str, type: str, argument: Any) -> None:
        """Run the handler of an event; one that fails is logged."""
        if (handler := self._find(event, type)) is None:
            return
        try:
            result = handler(argument)
        except Exception:
            logger.exception("the handler of %s failed", event)
            return
        if inspect.isawaitable(result):
            self._spawn(_result(result))

    async def _send_quietly(self, text: str) -> None:
        try:
            await self.write(text)
        except ConnectionClosed:
            logger.debug("a receipt could not be sent")

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConnectionClosed):
            logger.error("a handler failed", exc_info=error)


async def connect(
    url: str,
    *,
    key: str | None = None,
    reconnect: bool = True,
    receipts: bool = True,
    **options: Any,
) -> Connection:
    """Connect to `ws://host/connection`; `key` is an API key, `options` go to websockets' `connect`.

    Raises Refused, ValueError for a wrong URL, and OSError or TimeoutError when there is no answer. Only what
    was open once reconnects; but with `reconnect`, a server that says 503 is asked again, as long as it does.
    """
    if receipts:
        options["subprotocols"] = [
            *map(Subprotocol, (wire.PLAIN, wire.RECEIPTS)),
            *options.get("subprotocols", ()),
        ]
    connection = Connection(Dialer(url, options, key or ""), reconnect, key or "")
    await connection.start()
    return connection


async def _result(result: Awaitable[Any] | Any) -> None:
    if inspect.isawaitable(result):
        await result


def _closed(error: SocketClosed) -> ConnectionClosed:
    close = error.rcvd or error.sent
    return ConnectionClosed(close.code, close.reason) if close else ConnectionClosed(1006, "")
