"""The way of a namespace's packets to its client, and the core Writer over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from routing_app.core.codes import Advice, Close
from routing_app.core.delivery.frame import Frame
from routing_app.engineio.frames import Form
from routing_app.engineio.socketio import wire
from routing_app.engineio.wire import MESSAGE, Packet


class Carrier(Protocol):
    """Takes packets for one client: its Engine.IO session, or what stands for one."""

    @property
    def form(self) -> Form:
        """The form in which the client reads attachments."""

    @property
    def writable(self) -> bool:
        """True while packets can reach the client."""

    @property
    def closed_with(self) -> Close | None:
        """How it has ended; None while it has not."""

    def send(self, packet: Packet) -> None:
        """One packet."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Frames that hold one packet each; nothing comes in between."""

    def held_bytes(self) -> int:
        """Bytes that the client has not taken."""

    def held_frames(self) -> int:
        """The same in frames, where they are counted."""

    def close(self, close: Close) -> None:
        """End it, after what was written."""

    def abort(self, close: Close) -> None:
        """End it at once: the client does not read."""


class NamespaceWriter:
    """A core Writer over a carrier; what it holds is what the carrier holds for all namespaces."""

    __slots__ = ("_leave", "_namespace", "carrier")

    def __init__(self, carrier: Carrier, namespace: str, leave: Callable[[], None]) -> None:
        self.carrier = carrier
        self._namespace = namespace
        self._leave = leave

    def forget(self) -> None:
        """The socket has ended, and is let go."""
        self._leave = lambda: None

    def write(self, frames: list[Frame]) -> None:
        """Frames of whole packets."""
        self.carrier.write(frames)

    @property
    def form(self) -> Form:
        """The form in which the client reads attachments."""
        return self.carrier.form

    def held_bytes(self) -> int:
        """See Carrier."""
        return self.carrier.held_bytes()

    def held_frames(self) -> int:
        """See Carrier."""
        return self.carrier.held_frames()

    def close(self, close: Close) -> None:
        """End this namespace; the whole session where the client shall come back.

        A client that gets DISCONNECT from the server stays away; one whose transport ends reconnects.
        """
        if close.advice is Advice.STAY_AWAY:
            self.carrier.send(MESSAGE + wire.disconnect(self._namespace))
            self._leave()
        else:
            self.carrier.close(close)

    def abort(self, close: Close) -> None:
        """The client does not read: the session is of no use to any namespace."""
        self.carrier.abort(close)
