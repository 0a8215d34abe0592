"""The writer of a session that may be recovered: it keeps events, and repeats those that were missed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import ClassVar, Final

from routing_app.core.codes import Close
from routing_app.core.delivery.frame import Frame
from routing_app.engineio.frames import Base64Frame, DataFrame, data_frame, packet_of
from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.carrier import Carrier, NamespaceWriter
from routing_app.engineio.socketio.kept import Kept, KeptEvents, size_of
from routing_app.engineio.wire import MESSAGE, Packet

HELD: Final = 64 * 1024
"""Bytes that wait for a client before no more of what it missed is written."""
SLICE: Final = 64
"""Packets written between two looks at what waits."""
PAUSE_SECONDS: Final = 0.02
"""Between two looks whether a client has read."""

BINARY: Final = f"{MESSAGE}{wire.BINARY_EVENT}"

Group = tuple[bool, Sequence[Frame]]
"""A packet with its attachments, which nothing may come between; True for one that the client has missed."""


class KeepingWriter(NamespaceWriter):
    """Keeps each event; what is none, and an event that asks for an ack, has no offset and is not kept."""

    __slots__ = ("_behind", "_event", "_live_frames", "_live_size", "_retry", "kept")

    _last: ClassVar[tuple[list[Frame], str, tuple[Kept, ...], int]] = ([], "", (), 0)
    """The frames written last, by any writer, and the events among them: members of a room get the same."""

    def __init__(self, carrier: Carrier, namespace: str, leave: Callable[[], None], kept: KeptEvents) -> None:
        super().__init__(carrier, namespace, leave)
        self.kept = kept
        self._event = f"{MESSAGE}{wire.EVENT}{namespace},["
        self._behind: deque[Group] = deque()
        """Packets that have to be written before anything new."""
        self._live_size = self._live_frames = 0
        """Of what waits behind it, which counts as held."""
        self._retry: asyncio.TimerHandle | None = None

    def write(self, frames: list[Frame]) -> None:
        """Keep events, and write them behind those that the client missed."""
        last, prefix, events, size = KeepingWriter._last
        # Frames compare by identity, so equal lists hold the very same ones.
        if frames != last or prefix != self._event:
            events = tuple(self._events_in(frames))
            size = sum(map(size_of, events))
            KeepingWriter._last = frames, self._event, events, size
        if events:
            self.kept.add(events, size)
        if self._behind:
            self._behind += ((False, group) for group in _groups(frames))
            self._live_frames += len(frames)
            self._live_size += sum(frame.size for frame in frames)
        else:
            self.carrier.write(frames)

    def held_bytes(self) -> int:
        """Bytes that wait for the client, without those that it missed: they come at its own pace."""
        return self.carrier.held_bytes() + self._live_size

    def held_frames(self) -> int:
        """The same in frames."""
        return self.carrier.held_frames() + self._live_frames

    def close(self, close: Close) -> None:
        """End the namespace for good: it is not recovered."""
        self._write_behind()
        super().close(close)
        self._leave()

    def abort(self, close: Close) -> None:
        """The same for a client that does not read."""
        self.stop()
        super().abort(close)
        self._leave()

    def wait(self, carrier: Carrier) -> None:
        """The client is away: keep events, and drop the rest."""
        self.stop()
        self.carrier = carrier
        self.kept.sent = self.kept.number

    def resume(self, carrier: Carrier, connect: Packet, position: int) -> None:
        """The client is back: the answer to its CONNECT, then the events that follow a position."""
        self.stop()
        self.carrier = carrier
        carrier.send(connect)
        self._behind += ((True, self._again(event)) for event in self.kept.after(position))
        self.kept.sent = None
        self._catch_up()

    def stop(self) -> None:
        """Write nothing more of what waits; the events in it are kept."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._behind.clear()
        self._live_size = self._live_frames = 0

    def _catch_up(self) -> None:
        self._retry = None
        while self._behind:
            if self.carrier.held_bytes() > HELD:
                self._retry = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._catch_up)
                return
            self._write_slice()

    def _write_behind(self) -> None:
        while self._behind:
            self._write_slice()
        self.stop()

    def _write_slice(self) -> None:
        frames: list[Frame] = []
        size = 0
        while self._behind and len(frames) < SLICE and size < HELD:
            missed, group = self._behind.popleft()
            frames += group
            size += (held := sum(frame.size for frame in group))
            if not missed:
                self._live_frames -= len(group)
                self._live_size -= held
        self.carrier.write(frames)

    def _events_in(self, frames: list[Frame]) -> Iterator[Kept]:
        """The events among frames, with their attachments; those that ask for an ack are left out."""
        left = iter(frames)
        for frame in left:
            if frame.text.startswith(self._event):
                yield frame
            elif frame.text.startswith(BINARY):
                count, _, rest = frame.text.removeprefix(BINARY).partition("-")
                attachments = tuple(islice(left, int(count)))
                if rest.startswith(f"{self._namespace},["):
                    yield (frame, *attachments)

    def _again(self, event: Kept) -> Sequence[Frame]:
        """An event for the carrier of now, which may want attachments in another form."""
        if isinstance(event, Frame):
            return (event,)
        packet, *attachments = event
        return (packet, *(data_frame(self.carrier.form, _data(frame)) for frame in attachments))


def _groups(frames: list[Frame]) -> list[list[Frame]]:
    """Packets with their attachments, of events and acks."""
    groups: list[list[Frame]] = []
    for frame in frames:
        if groups and isinstance(frame, DataFrame | Base64Frame):
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _data(frame: Frame) -> bytes:
    packet = packet_of(frame)
    assert isinstance(packet, bytes)
    return packet
