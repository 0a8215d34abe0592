"""A WebSocket at one worker that carries the session of another: the upgrade without sticky sessions.

The worker that holds the WebSocket (the holder) probes it, then passes packets to the owner as calls, and
writes what the owner sends back. One call is under way at a time, so packets keep their order, and a slow
owner slows the client down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.codes import BY_CODE, MALFORMED, NORMAL, SLOW, TOO_BIG, UNAVAILABLE, Close, Loss
from routing_app.core.delivery.connection import Limits
from routing_app.core.delivery.frame import BinaryFrame, Frame
from routing_app.core.delivery.publication import Publication
from routing_app.core.worker import Worker
from routing_app.engineio import wire
from routing_app.engineio.remote_sessions import RemoteSessions, pack, unpack
from routing_app.engineio.session import EngineSession, Fault, RequestRefused
from routing_app.engineio.websocket import PacketSocket, PacketTooBig, SocketGone, probe
from routing_app.engineio.wire import Packet

FRAMES: Final = "$engineio.frames"
"""Event of a publication to the holder: `[bridge number, packets]`."""
END: Final = "$engineio.end"
"""Event of a publication to the holder: `[bridge number, close code, whether to abort]`."""
READ_AHEAD: Final = 64
"""Packets that the holder reads while a call is under way."""
READ_AHEAD_SIZE: Final = 256 * 1024
"""The same in characters of strings and bytes of binary packets."""
RETRY_SECONDS: Final = 0.05

Caller = Callable[..., Any]
"""Calls the owner of one session: (verb, payload) -> answer. Raises RequestRefused."""


class BridgeWriter:
    """The owner's end: a core Writer whose frames go to the holder."""

    def __init__(self, worker: Worker, holder: str, number: int) -> None:
        self._relay = worker.relay
        self._address = (f"worker:{holder}",)
        self._number = number
        self._waiting: list[Frame] = []
        self._last: tuple[int, bool] | None = None
        """The end, which goes behind the frames that wait: the close code, and whether to abort."""
        self._retry: asyncio.TimerHandle | None = None

    def write(self, frames: list[Frame]) -> None:
        """Hand over to the relay, or keep the frames while it has no room."""
        self._waiting += frames
        if self._retry is None:
            self._pass_on()

    def held_bytes(self) -> int:
        """Bytes that the relay has not taken; the holder bounds what the client has not read."""
        return sum(frame.size for frame in self._waiting)

    def held_frames(self) -> int:
        """The same in frames."""
        return len(self._waiting)

    def close(self, close: Close) -> None:
        """End it after what was written before."""
        self._end(close, abort=False)

    def abort(self, close: Close) -> None:
        """End it at once."""
        metrics.LOST.labels(Loss.SLOW).inc(len(self._waiting))
        self._waiting = []
        self._end(close, abort=True)

    def _end(self, close: Close, abort: bool) -> None:
        self._last = close.code, abort
        self._pass_on()

    def _pass_on(self) -> None:
        """Hand over what waits, in order; that for which the relay has no room is tried again."""
        if self._retry is not None:
            self._retry.cancel()
        passed = self._pass_frames() and self._pass_end()
        loop = asyncio.get_running_loop()
        self._retry = None if passed else loop.call_later(RETRY_SECONDS, self._pass_on)

    def _pass_frames(self) -> bool:
        """False while the relay has no room for the frames."""
        if self._waiting:
            packets = pack([f.data if isinstance(f, BinaryFrame) else f.text for f in self._waiting])
            if not self._offer(FRAMES, packets):
                return False
            self._waiting = []
        return True

    def _pass_end(self) -> bool:
        """False while the relay has no room for the end."""
        if self._last is not None:
            if not self._offer(END, *self._last):
                return False
            self._last = None
        return True

    def _offer(self, event: str, *rest: Any) -> bool:
        return self._relay.offer(Publication(self._address, [self._number, *rest], event))


class Bridges:
    """Both ends of all bridges of one process."""

    def __init__(self, sessions: RemoteSessions, limits: Limits) -> None:
        self._sessions = sessions
        self._worker = sessions.worker
        self._limits = limits
        self._numbers = itertools.count(1)
        self._channels: dict[int, PacketSocket] = {}
        sessions.offer("upgrade", _upgrade)
        sessions.offer("probed", _probed, stops=False)
        sessions.offer("moved", self._moved, stops=False)
        sessions.offer("stay", _stay, stops=False)
        sessions.offer("receive", _receive, stops=False)
        self._worker.hub.on(FRAMES, self._write)
        self._worker.hub.on(END, self._end)
        self._worker.on_drain.append(self._drain)

    # --- the holder --------------------------------------------------------------------------------------

    async def serve(self, sid: str, version: int, channel: PacketSocket, seconds: float) -> None:
        """Carry a session of another worker over this WebSocket. Raises RequestRefused before the accept."""

        async def call(verb: str, payload: str = "") -> str:
            return await self._sessions.call(sid, version, verb, payload)

        free = await call("upgrade")
        number = next(self._numbers)
        self._channels[number] = channel
        try:
            if free:
                close = await self._carry(channel, call, number, seconds)
            else:
                await channel.accept()
                close = NORMAL
        finally:
            del self._channels[number]
        channel.close(close)
        await channel.drain()

    async def _carry(self, channel: PacketSocket, call: Caller, number: int, seconds: float) -> Close:
        """Accept, probe, move the session and pass its packets; returns the close for the WebSocket.

        However that ends, the owner hears of it: its session would wait for a move that does not come.
        """
        try:
            await channel.accept()
            if await _probe(channel, call, seconds):
                # Without the limit of the probe: the owner may have moved the session before it answers.
                await call("moved", json.dumps([number, channel.text_only]))
                return await _pass_packets(channel, call)
        except RequestRefused:  # or no answer has come: the client does not wait for another
            self._worker.spawn(_give_up(call))
            return UNAVAILABLE
        except BaseException:
            # In a task of its own: one that is cancelled must not be held up by the layer.
            self._worker.spawn(_give_up(call))
            raise
        await _give_up(call)
        return NORMAL

    def _write(self, publication: Publication) -> int:
        channel, packets = self._addressed(publication)
        if channel is None:
            return 0
        channel.writer.write(
            [Frame(packet) if isinstance(packet, str) else BinaryFrame(packet) for packet in unpack(packets)]
        )
        held = channel.writer.held_bytes(), channel.writer.held_frames()
        if held[0] > self._limits.outbox_bytes or held[1] > self._limits.outbox_frames:
            channel.writer.abort(SLOW)
        return 1

    def _end(self, publication: Publication) -> int:
        channel, code, abort = self._addressed(publication)
        if channel is None:
            return 0
        close = BY_CODE.get(code, NORMAL)
        (channel.writer.abort if abort else channel.writer.close)(close)
        return 1

    def _addressed(self, publication: Publication) -> tuple[PacketSocket | None, *tuple[Any, ...]]:
        """The WebSocket that a publication to its holder names, and the rest of the message."""
        number, *rest = publication.message
        mine = publication.addresses == (f"worker:{self._worker.id}",)
        return self._channels.get(number) if mine else None, *rest

    def _drain(self, close: Close) -> None:
        """The holder stops: end what it carries, in the way that each client understands."""
        for channel in self._channels.values():
            channel.close(close)

    # --- the owner ---------------------------------------------------------------------------------------

    async def _moved(self, session: EngineSession, caller: str, payload: str) -> str:
        if not session.upgrading:  # the holder has given up
            raise RequestRefused(Fault.BAD_REQUEST)
        number, text_only = json.loads(payload)
        session.upgraded(BridgeWriter(self._worker, caller, number), text_only)
        return ""


async def _probe(channel: PacketSocket, call: Caller, seconds: float) -> bool:
    """The probe of `websocket.upgrade`, with a call to the owner for its answer."""
    try:
        async with asyncio.timeout(seconds):
            return await probe(channel, lambda: call("probed"))
    except (SocketGone, TimeoutError, wire.EngineWireError, PacketTooBig, RequestRefused):
        return False


async def _give_up(call: Caller) -> None:
    """Tell the owner that this WebSocket does not carry its session, or does so no longer."""
    with suppress(RequestRefused):
        await call("stay")


async def _pass_packets(channel: PacketSocket, call: Caller) -> Close:
    """Pass packets to the owner until either end closes; returns how. Raises RequestRefused."""
    ahead = ReadAhead()
    reader = asyncio.ensure_future(_read(channel, ahead))
    try:
        while batch := await ahead.take(reader):
            await call("receive", pack(batch))
    finally:
        reader.cancel()
    close = reader.result()
    with suppress(RequestRefused):
        await call("close", str(close.code))
    return close


async def _read(channel: PacketSocket, ahead: ReadAhead) -> Close:
    """Queue packets until the WebSocket ends; returns how."""
    try:
        while True:
            await ahead.put(await channel.packet())
    except SocketGone:
        return NORMAL
    except wire.EngineWireError:
        return MALFORMED
    except PacketTooBig:
        return TOO_BIG


class ReadAhead:
    """Packets that were read while a call is under way."""

    def __init__(self) -> None:
        self._packets: list[Packet] = []
        self._size = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, packet: Packet) -> None:
        """Wait for room, then add a packet."""
        while len(self._packets) >= READ_AHEAD or self._size >= READ_AHEAD_SIZE:
            self._room.clear()
            await self._room.wait()
        self._packets.append(packet)
        self._size += len(packet)
        self._some.set()

    async def take(self, reader: asyncio.Task[Close]) -> list[Packet]:
        """All that has been read, one packet at least; empty when the reader has ended."""
        if not self._packets and not reader.done():
            some = asyncio.ensure_future(self._some.wait())
            await asyncio.wait((some, reader), return_when=asyncio.FIRST_COMPLETED)
            some.cancel()
        packets, self._packets, self._size = self._packets, [], 0
        self._some.clear()
        self._room.set()
        return packets


async def _upgrade(session: EngineSession, caller: str, payload: str) -> str:
    return "free" if session.begin_upgrade() else ""


async def _probed(session: EngineSession, caller: str, payload: str) -> str:
    session.probed()
    return ""


async def _stay(session: EngineSession, caller: str, payload: str) -> str:
    """The holder that was to carry it, or does, has given up; a client that has moved does not poll again."""
    if session.on_websocket:
        session.close(UNAVAILABLE)
    else:
        session.upgrade_failed()
    return ""


async def _receive(session: EngineSession, caller: str, payload: str) -> str:
    for packet in unpack(payload):
        await session.receive(packet)
    return ""
