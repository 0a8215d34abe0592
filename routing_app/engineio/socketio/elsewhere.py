"""Sessions that clients come back to at another worker than theirs.

The session stays with its owner, which numbers and keeps its events in one order. The worker where the client
is now (the holder) fetches packets from the owner, one batch after the other as the client reads, and passes
on what the client sends. Where a batch does not come, the holder ends the client's session: the client comes
back once more, with its offset, and nothing is missing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from routing_app.core.access.grants import Grant
from routing_app.core.cluster.calls import CallError, CallRefused, Incoming
from routing_app.core.codes import BY_CODE, NORMAL, RESTART, SILENT, UNAVAILABLE, Close
from routing_app.core.delivery.connection import Peer
from routing_app.core.delivery.frame import BinaryFrame, Frame
from routing_app.core.worker import LayerUnavailable, Worker
from routing_app.engineio.frames import Base64Frame, Form, data_frame, packet_of
from routing_app.engineio.remote_sessions import pack, unpack
from routing_app.engineio.session import EngineSession
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.keeping import HELD
from routing_app.engineio.socketio.kept import ABSENT
from routing_app.engineio.socketio.recoverable import RecoverableSocket, no_session
from routing_app.engineio.socketio.socket import Forget
from routing_app.engineio.wire import Packet

RESUME_SECONDS: Final = 5.0
"""Longest wait for the owner before a client gets a new session."""
PULL_SECONDS: Final = 10.0
"""The owner answers after so long, also with nothing."""
ANSWER_SECONDS: Final = 20.0
"""Longest wait of the holder for a batch."""
SEND_SECONDS: Final = 120.0
"""Longest wait until the owner has taken a client's packet."""
SILENCE_SECONDS: Final = 10.0
"""A holder that has not asked for so long is gone."""
BATCH: Final = 64 * 1024
"""Bytes of one batch, more with the attachments of its last packet."""
PAUSE_SECONDS: Final = 0.02
"""Between two looks whether the client has read."""
LEFT: Final = 0
"""End of a namespace; any other end is the code of the close of the whole session."""

FAILURES: Final = (CallError, TimeoutError, LayerUnavailable)


class Elsewhere:
    """Both ends in one process: `sockets` are those of this worker, by pid."""

    def __init__(self, worker: Worker, protocol: str, sockets: Mapping[str, RecoverableSocket]) -> None:
        self._worker = worker
        self._protocol = protocol
        self._sockets = sockets
        self._numbers = itertools.count(1)
        self._carriers: dict[str, tuple[RemoteCarrier, RecoverableSocket]] = {}
        worker.calls.serve(f"{protocol}.recovery.resume", self._resume, stops=False)
        worker.calls.serve(f"{protocol}.recovery.pull", self._pull)
        worker.calls.serve(f"{protocol}.recovery.packet", self._packet, stops=False)
        worker.calls.serve(f"{protocol}.recovery.detach", self._detach, stops=False)

    # --- the holder --------------------------------------------------------------------------------------

    async def resume(
        self, pid: str, name: str, offset: Any, session: EngineSession, forget: Forget, grant: Grant
    ) -> RemoteSocket | None:
        """Go on with the session of another worker; None when that cannot be."""
        known = [] if offset is ABSENT else [offset]
        peer = [session.peer.host, session.peer.port]
        owner = pid[: len(self._worker.id)]
        try:
            payload = [pid, name, known, peer, grant.as_json()]
            key = await self._call(owner, "resume", payload, RESUME_SECONDS)
        except FAILURES:
            return None
        return RemoteSocket(self, owner, key, name, session, forget)

    async def _call(self, owner: str, verb: str, payload: Any, seconds: float) -> Any:
        return await self._worker.calls.call(owner, f"{self._protocol}.recovery.{verb}", payload, seconds)

    def start(self, socket: RemoteSocket) -> asyncio.Task[None]:
        """Carry packets to a client until it goes."""
        return self._worker.spawn(socket.fetch())

    async def pull(self, owner: str, key: str, limit: int) -> tuple[list[Packet], int | None]:
        """The next packets for a client, at most about `limit` bytes; 0: none, but it is still there."""
        packed, end = await self._call(owner, "pull", [key, limit], ANSWER_SECONDS)
        return unpack(packed), end

    async def pass_on(self, owner: str, key: str, packets: Sequence[Packet]) -> None:
        """A packet of the client, with its attachments."""
        await self._call(owner, "packet", [key, pack(packets)], SEND_SECONDS)

    def detach(self, owner: str, key: str, code: int) -> None:
        """The client has gone."""
        self._worker.spawn(self._detach_there(owner, key, code))

    async def _detach_there(self, owner: str, key: str, code: int) -> None:
        with suppress(*FAILURES):
            await self._call(owner, "detach", [key, code], RESUME_SECONDS)

    # --- the owner ---------------------------------------------------------------------------------------

    def ended(self, socket: RecoverableSocket) -> None:
        """A session of this worker has ended for good; its last packets are still fetched."""
        if isinstance(carrier := socket.writer.carrier, RemoteCarrier):
            carrier.finish(LEFT)

    async def _resume(self, call: Incoming) -> str:
        pid, name, known, (host, port), grant = call.payload
        offset = known[0] if known else ABSENT
        socket = self._sockets.get(pid)
        if socket is None or socket.name != name:
            raise CallRefused(None)
        key = f"{self._worker.id}.{next(self._numbers)}"
        carrier = RemoteCarrier(lambda: self._gone(key))
        if not socket.resume(carrier, Peer(host, port), no_session, offset, Grant.of_json(grant)):
            raise CallRefused(None)
        carrier.watch()
        self._carriers[key] = carrier, socket
        return key

    async def _pull(self, call: Incoming) -> list[Any]:
        key, limit = call.payload
        carrier, _ = self._found(key)
        packets = await carrier.take(limit)
        end = carrier.end if carrier.empty else None
        if end is not None:
            self._drop(key)
        return [pack(packets), end]

    async def _packet(self, call: Incoming) -> None:
        key, packed = call.payload
        text, *attachments = unpack(packed)
        assert isinstance(text, str)
        packet = wire.decode(text)
        if attachments:
            wire.attach(packet.data, [data for data in attachments if isinstance(data, bytes)])
            packet = replace(packet, size=packet.size + sum(map(len, attachments)))
        carrier, socket = self._found(key)
        if socket.writer.carrier is carrier:
            for part in (text, *attachments):
                socket.note(part)
            await socket.received(packet)

    async def _detach(self, call: Incoming) -> None:
        key, code = call.payload
        carrier, socket = self._found(key)
        self._drop(key)
        if socket.writer.carrier is carrier:
            if code == LEFT:
                socket.close()
            else:
                socket.lost(BY_CODE.get(code, NORMAL))

    def _gone(self, key: str) -> None:
        """The holder does not ask any more."""
        carrier, socket = self._carriers[key]
        self._drop(key)
        if socket.writer.carrier is carrier:
            socket.lost(SILENT)

    def _found(self, key: str) -> tuple[RemoteCarrier, RecoverableSocket]:
        found = self._carriers.get(key)
        if found is None:
            raise CallRefused(None)
        return found

    def _drop(self, key: str) -> None:
        if (found := self._carriers.pop(key, None)) is not None:
            carrier, _ = found
            carrier.leave()


class RemoteCarrier:
    """The owner's end (`carrier.Carrier`): packets wait here until the holder fetches them."""

    form = Form(4, text_only=False)

    def __init__(self, gone: Any) -> None:
        self.closed_with: Close | None = None
        self.end: int | None = None
        """LEFT, or the code of a close, once nothing more comes."""
        self._gone = gone
        self._queue: list[Frame] = []
        self._held = 0
        self._some = asyncio.Event()
        self._asking = 0
        self._timer: asyncio.TimerHandle | None = None
        self._left = False

    @property
    def writable(self) -> bool:
        """Until either end closes."""
        return self.end is None

    @property
    def empty(self) -> bool:
        """True when everything was fetched."""
        return not self._queue

    def send(self, packet: Packet) -> None:
        """One packet."""
        self.write([Frame(packet) if isinstance(packet, str) else data_frame(self.form, packet)])

    def write(self, frames: Sequence[Frame]) -> None:
        """Queue frames; nothing once it has ended."""
        if self.writable:
            self._queue += frames
            self._held += sum(frame.size for frame in frames)
            self._some.set()

    def held_bytes(self) -> int:
        """Bytes that were not fetched."""
        return self._held

    def held_frames(self) -> int:
        """0: bytes are counted."""
        return 0

    def close(self, close: Close) -> None:
        """End the client's whole session, after what was written."""
        self.closed_with = self.closed_with or close
        self.finish(close.code)

    def abort(self, close: Close) -> None:
        """The same at once."""
        self._queue, self._held = [], 0
        self.close(close)

    def finish(self, end: int) -> None:
        """Nothing more comes."""
        if self.end is None:
            self.end = end
            self._some.set()

    async def take(self, limit: int) -> list[Packet]:
        """The next packets, after a while none; with limit 0 none at once."""
        self.stop()
        self._asking += 1
        try:
            if limit and self.empty and self.end is None:
                self._some.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(PULL_SECONDS):
                        await self._some.wait()
            return self._cut(limit)
        finally:
            self._asking -= 1
            self.watch()

    def _cut(self, limit: int) -> list[Packet]:
        count = size = 0
        # A packet's attachments go with it: another namespace's packet could come in between.
        for frame in self._queue:
            if size >= limit and not isinstance(frame, BinaryFrame | Base64Frame):
                break
            count += 1
            size += frame.size
        taken, self._queue = self._queue[:count], self._queue[count:]
        self._held -= size
        return [packet_of(frame) for frame in taken]

    def watch(self) -> None:
        """Look for the holder's next question."""
        self.stop()
        if not self._asking and not self._left:
            self._timer = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._gone)

    def leave(self) -> None:
        """The holder has gone, or has everything: a question that is under way is its last."""
        self._left = True
        self.stop()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class RemoteSocket:
    """The holder's end (`socket.ClientSocket`)."""

    revoked = False
    """The owner ends it, and does not say why."""

    def __init__(
        self, calls: Elsewhere, owner: str, key: str, name: str, session: EngineSession, forget: Forget
    ) -> None:
        self.name = name
        self._calls = calls
        self._owner = owner
        self._key = key
        self._session = session
        self._forget = forget
        self._open = True
        self._fetching = calls.start(self)

    async def fetch(self) -> None:
        """Bring packets to the client, as it reads them, until either end closes."""
        try:
            end = await self._fetch()
        except FAILURES:
            end = UNAVAILABLE.code
        if self._open:
            self._open = False
            self._forget(self)
            if end != LEFT:
                self._session.close(BY_CODE.get(end, NORMAL))

    async def _fetch(self) -> int:
        """The same; how the owner's end has closed. Cancelled when the client goes."""
        while True:
            if (end := await self._until_read()) is not None:
                return end
            packets, end = await self._calls.pull(self._owner, self._key, BATCH)
            for packet in packets:
                self._session.send(packet)
            if end is not None:
                return end

    async def _until_read(self) -> int | None:
        """Wait while the client does not read, and say that it is still there; the end, if it comes."""
        loop = asyncio.get_running_loop()
        told = loop.time()
        while self._session.held_bytes() > HELD:
            await asyncio.sleep(PAUSE_SECONDS)
            if loop.time() > told + SILENCE_SECONDS / 3:
                told = loop.time()
                _, end = await self._calls.pull(self._owner, self._key, 0)
                if end is not None:
                    return end
        return None

    def note(self, message: Packet) -> None:
        """Nothing: the owner is told."""

    async def received(self, packet: wire.Packet) -> None:
        """Pass an EVENT or an ACK on."""
        if packet.type == wire.EVENT:
            written = wire.event(self.name, *packet.data, id=packet.id or "")
        elif packet.type == wire.ACK:
            written = wire.ack(self.name, packet.id or "", *packet.data)
        else:
            return
        parts: list[Packet] = [written] if isinstance(written, str) else [written.text]
        parts += () if isinstance(written, str) else written.attachments
        try:
            await self._calls.pass_on(self._owner, self._key, parts)
        except FAILURES:
            if self._open:
                self._session.close(UNAVAILABLE)

    def flush(self) -> None:
        """Nothing waits here."""

    def lost(self, close: Close) -> bool:
        """The client's session has ended: the owner waits for it, also where this worker stops."""
        self._end(NORMAL.code if close is RESTART else close.code)
        return True

    def close(self) -> None:
        """The client has left the namespace."""
        self._end(LEFT)

    def _end(self, code: int) -> None:
        if self._open:
            self._open = False
            self._forget(self)
            self._fetching.cancel()
            self._calls.detach(self._owner, self._key, code)
