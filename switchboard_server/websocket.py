"""One WebSocket after its handshake request: ASGI on one side, a Twisted protocol on the other.

Daphne's own protocol keeps about 20 kB per connection, parses with copies of the whole buffer and takes
whatever a client sends; this one stops reading when its application is behind, and writes through `writer`.
"""

from __future__ import annotations

import asyncio
import logging
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from switchboard_server import frames
from switchboard_server.frames import FrameError, FrameReader
from switchboard_server.receive_queue import Message, ReceiveQueue
from switchboard_server.writer import BufferedWriter, TransportWriter

if TYPE_CHECKING:
    from switchboard_server.http import Upgrade
    from switchboard_server.server import Server

logger = logging.getLogger("daphne.websocket")

CLOSE_TIMEOUT: Final = 3.0
"""Seconds a peer has to answer a close frame, and again while it reads on and has not come to it."""
LATEST: Final = 10.0
"""Seconds after which a peer is dropped that reads on, but has not come to the close frame."""
NOT_BEHIND: Final = 0.0, 0
HIGH_WATER: Final = 64 * 1024
"""Held bytes above which `await send()` waits."""
PING: Final = frames.build(frames.PING)
MAX_MESSAGE: Final = "switchboard.max_message"
"""Key of `websocket.accept`: bytes of the largest message, and frame, that this application takes."""
KEYS: Final = {frames.TEXT: "text", frames.BINARY: "bytes"}


class SocketState(IntEnum):
    """Life of a socket; it only grows."""

    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


@implementer(IProtocol)
class WebSocket:
    """Connects one application instance with one client."""

    __slots__ = (
        "_behind",
        "_denied",
        "_details",
        "_discarding",
        "_inbox",
        "_paused",
        "_reader",
        "_secure",
        "_server",
        "_upgrade",
        "deadline",
        "factory",
        "heard",
        "opened",
        "pinged",
        "state",
        "task",
        "transport",
        "writer",
    )

    def __init__(self, server: Server, upgrade: Upgrade) -> None:
        self._server = server
        self._upgrade: Upgrade | None = upgrade
        self._details = upgrade.log_details()
        self._inbox = ReceiveQueue()
        self._inbox.put({"type": "websocket.connect"}, 0)
        self._reader = FrameReader(server.websocket_max_frame_size, server.websocket_max_message_size)
        self._paused = self._discarding = self._denied = False
        self._behind = NOT_BEHIND
        """Of a peer that has not reached our close frame: the time to drop it at the latest, and the bytes
        that it had taken when it was looked at last."""
        self._secure = upgrade.secure
        self.writer: TransportWriter = BufferedWriter(self) if self._secure else TransportWriter(self)
        self.transport: Any = None
        self.task: asyncio.Task[None] | None = None
        self.state = SocketState.HANDSHAKE
        self.opened = self.heard = server.now
        self.pinged = 0.0
        timeout = server.websocket_connect_timeout
        self.deadline = _soon(timeout) if timeout >= 0 else 0.0
        """Loop time at which the connection is dropped; 0.0 while nothing is due."""
        self._log("connecting")

    # --- ASGI -----------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The application's next message."""
        message = await self._inbox.get()
        if self._paused and self._inbox.low:
            self._resume()
        return message

    async def send(self, message: Message) -> None:
        """Take a message of the application; waits while the peer is far behind.

        Raises ValueError for a message that is wrong at this time; after the end messages are dropped.
        """
        kind = message["type"]
        if kind == "websocket.send":
            self._send(message)
            if self.writer.open and self.writer.held() > HIGH_WATER:
                await self._drained()
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            code = message.get("code")
            self.close(1000 if code is None else code, message.get("reason") or "")
        elif kind.startswith("websocket.http.response."):
            self._deny(message)
        else:
            raise ValueError(f"unexpected message {kind!r} for a WebSocket")

    def _accept(self, message: Message) -> None:
        if self.state is SocketState.CLOSED:
            return
        if self.state is not SocketState.HANDSHAKE or self._upgrade is None or self._denied:
            raise ValueError("websocket.accept after the handshake")
        response = self._upgrade.answer(message.get("subprotocol"), message.get("headers") or ())
        if (largest := message.get(MAX_MESSAGE)) is not None:
            self._reader.bound(largest, largest)
        upgrade, self._upgrade = self._upgrade, None
        self.state = SocketState.OPEN
        self.deadline = 0.0
        early = upgrade.hand_over(self)
        self.writer.start(self.transport, response)
        self._log("connected")
        if early:
            self.dataReceived(early)

    def _send(self, message: Message) -> None:
        if self.state is SocketState.HANDSHAKE:
            raise ValueError("websocket.send before websocket.accept")
        text = message.get("text")
        if text is not None:
            self.writer.write(frames.build(frames.TEXT, text.encode()))
            return
        data = message.get("bytes")
        if data is None:
            raise ValueError("websocket.send with neither text nor bytes")
        self.writer.write(frames.build(frames.BINARY, bytes(data)))

    def _deny(self, message: Message) -> None:
        """Answer the handshake with a plain HTTP response (ASGI's `websocket.http.response`)."""
        if self.state is SocketState.CLOSED:
            return
        if self._upgrade is None:
            raise ValueError("a denial response after websocket.accept")
        self._denied = True
        self._upgrade.deny({**message, "type": message["type"].removeprefix("websocket.")})
        if message["type"].endswith(".body") and not message.get("more_body"):
            self._refused()

    def _refused(self) -> None:
        self._upgrade = None
        self.state = SocketState.CLOSED
        self._log("rejected")
        self._inbox.end({"type": "websocket.disconnect", "code": frames.ABNORMAL, "reason": ""})
        self._server.socket_lost(self)

    async def _drained(self) -> None:
        drained = asyncio.Event()
        self.writer.notify_drained(drained.set)
        await drained.wait()

    # --- closing --------------------------------------------------------------------------------------

    def close(self, code: int, reason: str = "") -> None:
        """Close from this side: 403 before accept, else the code. Raises ValueError for a wrong code."""
        if self.state is SocketState.OPEN:
            self._close_with(frames.build_close(code, reason))
            self._unpause()
        elif self.state is SocketState.HANDSHAKE and self._upgrade is not None and not self._denied:
            self._upgrade.refuse(403, "Forbidden")
            self._refused()

    def abort(self) -> int:
        """Drop the connection: at once, or soon where a close frame is on its way and the peer reads on."""
        thrown = self.writer.discard()
        if self.state is not SocketState.CLOSING and self.transport is not None:
            self.writer.open = False
            self.transport.abortConnection()
        return thrown

    def overdue(self) -> None:
        """The deadline has passed: no handshake, or no answer to the close frame."""
        self.deadline = 0.0
        if self.state is SocketState.HANDSHAKE:
            logger.warning("an application took too long to accept a WebSocket")
            if self._upgrade is not None and not self._denied:
                self._upgrade.refuse(503, "No answer from the application", [(b"retry-after", b"5")])
            self._refused()
        elif self._secure:
            self.transport.abortConnection()
        else:
            self._end_or_wait()

    def _end_or_wait(self) -> None:
        """End in order once the kernel has the close frame; wait for a peer that reads on, up to a limit."""
        latest, before = self._behind
        reads_on = self.writer.acknowledged() > before and asyncio.get_running_loop().time() < latest
        if reads_on:
            self.writer.push()
        if not self.writer.held():
            # An orderly end: a reset could overtake the close frame. Not `loseConnection`, which waits until
            # the kernel has room again.
            self.transport.connectionLost(Failure(ConnectionDone()))
        elif reads_on:
            self._behind = latest, self.writer.acknowledged()
            self.deadline = _soon(CLOSE_TIMEOUT)
        else:
            self.transport.abortConnection()

    def ended(self, error: BaseException | None) -> None:
        """The application has returned, or raised `error`."""
        self.task = None
        if self.state is SocketState.HANDSHAKE and self._upgrade is not None:
            self._upgrade.refuse(500, "Internal Server Error")
            self._refused()
        else:
            self.close(1011 if error else 1000)

    def _close_with(self, frame: bytes) -> None:
        self.state = SocketState.CLOSING
        self.deadline = _soon(CLOSE_TIMEOUT)
        self.writer.finish(frame)
        if self.writer.held() and not self._secure:
            self._behind = _soon(LATEST), self.writer.acknowledged()

    def _fail(self, error: FrameError) -> None:
        """The peer broke the protocol: say so, read on without looking until it has gone."""
        if self.state is SocketState.OPEN:
            self._close_with(frames.build_close(error.code, error.reason))
            self._inbox.end({"type": "websocket.disconnect", "code": error.code, "reason": error.reason})
        # A close with unread bytes would be a TCP reset, which can overtake the close frame.
        self.writer.notify_drained(self._half_close)

    def _half_close(self) -> None:
        if self.transport is not None and not self._secure:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def _lose(self) -> None:
        if self.transport is not None:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    # --- Twisted --------------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the transport is ours."""
        self.transport = transport

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted's; `makeConnection` has done it."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Twisted: bytes from the peer."""
        self.heard = self._server.now
        if not self._discarding:
            self._reader.feed(data)
            if not self._paused:
                self._read()

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802 - Twisted's name
        """Twisted: the connection is gone. The application is told, and no reference to it is kept."""
        if self.state >= SocketState.OPEN:
            self._log("disconnected")
        self.state = SocketState.CLOSED
        self.deadline = 0.0
        self.transport = self._upgrade = None
        self._paused, self._discarding = False, True
        self._reader.clear()
        self.writer.lost()
        self._inbox.end({"type": "websocket.disconnect", "code": frames.ABNORMAL, "reason": ""})
        self._server.socket_lost(self)

    # --- reading --------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Handle whole frames until there are no more, or until the application is behind."""
        inbox, reader = self._inbox, self._reader
        try:
            while not inbox.full or self.state is not SocketState.OPEN:
                frame = reader.next()
                if frame is None:
                    return
                opcode, data = frame
                if opcode >= frames.CLOSE:
                    self._control(opcode, data)
                elif self.state is SocketState.OPEN:
                    inbox.put({"type": "websocket.receive", KEYS[opcode]: data}, len(data))
        except FrameError as error:
            self._discarding = True
            reader.clear()
            # One turn later, so that an answer to what came before it is not cut off.
            asyncio.get_running_loop().call_soon(self._fail, error)
            return
        self._paused = True
        self.transport.pauseProducing()

    def _control(self, opcode: int, data: Any) -> None:
        if opcode == frames.PING:
            self.writer.write(frames.build(frames.PONG, data))
        elif opcode == frames.CLOSE:
            self._closed_by_peer(*data)

    def _closed_by_peer(self, code: int, reason: str) -> None:
        """A close frame: the peer's own, which is answered with its code, or its answer to ours."""
        self._discarding = True
        self._inbox.end({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.state is SocketState.OPEN:
            self._close_with(
                frames.build(frames.CLOSE) if code == frames.NO_STATUS else frames.build_close(code, reason)
            )
        self._reader.clear()
        self.writer.notify_drained(self._lose)

    def _resume(self) -> None:
        """The application has caught up: handle what was kept back, then read on."""
        self._paused = False
        self._read()
        if not self._paused and self.transport is not None:
            self.transport.resumeProducing()

    def _unpause(self) -> None:
        """Read again although the application is behind: only the answer to our close matters now."""
        if self._paused and self.transport is not None:
            self._resume()

    def _log(self, action: str) -> None:
        if self._details is not None:
            self._server.log_action("websocket", action, self._details)

    # --- heartbeat ------------------------------------------------------------------------------------

    def quiet(self, now: float, timeout: float) -> None:
        """Nothing was heard for the ping interval: ask for a sign of life, give up when none comes.

        While reading is paused a pong cannot be seen; then only a failing write finds a dead peer.
        """
        if self.pinged > self.heard and not self._paused:
            if now - self.pinged >= timeout:
                self.writer.open = False
                self.transport.abortConnection()
        elif now - self.pinged >= timeout:
            self.pinged = now
            self.writer.write(PING)


def _soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
