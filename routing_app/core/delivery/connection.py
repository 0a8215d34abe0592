"""One client on the other end of a socket (or of an Engine.IO session)."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from time import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from routing_app.core import metrics
from routing_app.core.access.grants import NOBODY
from routing_app.core.address import AddressError
from routing_app.core.codes import GAP, INTERNAL, NORMAL, SLOW, Close, Loss
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import Flusher, Outbox
from routing_app.core.delivery.publication import Publication
from routing_app.core.delivery.writer import AsgiWriter, DirectWriter, Writer

if TYPE_CHECKING:
    from routing_app.core.rate_limits.limit import Limit

GROWTH: Final = 4
"""A message may go out so many times as long as it came: `é` is 2 bytes of UTF-8 and 6 as an escape of JSON,
`1e15` becomes `1000000000000000.0`."""


class FrameFollower(Protocol):
    """Sees the frames of one connection while it is traced (`core.frame_trace`)."""

    def received(self, message: Mapping[str, Any]) -> None:
        """An ASGI message from the client, before anything is done with it."""

    def closing(self, close: Close) -> None:
        """This end closes the connection."""

    def departed(self, code: int) -> None:
        """The connection has ended with this code."""


class ConnectionState(Enum):
    """Life of a connection; it only moves downward."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class FrameGroup(ABC):
    """One message that takes several frames: they reach a connection one after the other, or not at all."""

    @abstractmethod
    def frames(self, writer: Writer) -> Sequence[Frame]:
        """The frames in the form that a connection's writer needs, the same ones for the same form."""


class Encoder(Protocol):
    """Turns a publication into the frame that a protocol's clients understand; None leaves this protocol out.

    Called once per publication, process and encoder (once per address as well, if `per_address`), and
    must not look at any single connection.
    """

    per_address: bool

    def __call__(self, publication: Publication, address: str) -> str | Frame | FrameGroup | None:
        """The payload of the frame, a frame that only this protocol's writers know, or several frames."""


class NoEncoder:
    """For a protocol whose clients are not told what is published."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        """Leave the protocol out."""
        return None


NO_ENCODER: Final = NoEncoder()


@dataclass(frozen=True, slots=True)
class Peer:
    """The network address of the other end; empty and 0 where the server knows none."""

    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host else ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection's backlog."""

    outbox_bytes: int = 2**20
    outbox_frames: int = 1000

    def beside(self, largest: int) -> Limits:
        """Bounds for a protocol whose messages have `largest` bytes: one fits, whatever it becomes."""
        return replace(self, outbox_bytes=self.outbox_bytes + GROWTH * largest)


@dataclass(frozen=True, slots=True)
class Given:
    """An identity, a name and first subscriptions that a hook has given; empty where it gave none."""

    identity: str = ""
    name: str = ""
    addresses: tuple[str, ...] = ()

    def counted_as(self, protocol: str) -> str:
        """See `Connection.own_identity`."""
        return f"{protocol} {self.identity}" if self.identity else ""


NOTHING_GIVEN: Final = Given()


def new_id(worker_id: str) -> str:
    """A connection id: its worker's id and 12 random hex digits."""
    return worker_id + secrets.token_hex(6)


class Connection:
    """Sends to one client, and closes it. Only the hub changes its subscriptions."""

    __slots__ = (
        "__weakref__",
        "addresses",
        "close_sent",
        "counts",
        "encoder",
        "follower",
        "given",
        "grant",
        "handshake",
        "id",
        "identity",
        "on_close",
        "on_gap",
        "outbox",
        "own_identity",
        "peer",
        "protocol",
        "received",
        "received_bytes",
        "since",
        "state",
        "writer",
    )

    def __init__(
        self,
        id: str,
        protocol: str,
        writer: Writer,
        flusher: Flusher,
        encoder: Encoder,
        peer: Peer = Peer(),
        limits: Limits = Limits(),
    ) -> None:
        self.id = id
        self.protocol = protocol
        self.identity = ""
        """The identity in the protocol's own listing: the token, the nickname, the root id."""
        self.grant = NOBODY
        """What the credential allows that it has presented."""
        self.handshake: Mapping[str, Any] | None = None
        """The ASGI scope with which it came, for backends that are asked about it."""
        self.given = NOTHING_GIVEN
        """By a hook, as it connected."""
        self.own_identity = ""
        """Whom rate limits count in the protocol's own terms, with its name before it; empty: nobody."""
        self.counts: dict[Limit, float] | None = None
        """Its counts of rate limits per connection."""
        self.follower: FrameFollower | None = None
        """Set while the frames of the connection are traced."""
        self.since = time()
        """Seconds since 1970."""
        self.received = self.received_bytes = 0
        """Frames that came from the client, and the bytes of their payloads; `outbox` counts the others."""
        self.peer = peer
        self.writer = writer
        if isinstance(writer, AsgiWriter):
            writer.on_failure = lambda: self.close(INTERNAL)
        self.encoder = encoder
        self.outbox = Outbox(flusher, writer, self._overflowed, limits.outbox_bytes, limits.outbox_frames)
        self.addresses: dict[str, float] = {}
        """Its subscriptions, and the time of the hub's clock at which each began."""
        self.state = ConnectionState.OPEN
        self.close_sent: Close | None = None
        self.on_close: Callable[[Close], None] | None = None
        """Called once when this end closes, so that the reading side stops waiting."""
        self.on_gap: Callable[[], None] | None = None
        """Tells the client that messages may be missing, where its protocol can."""

    def send(self, text: str) -> bool:
        """Send one text frame in order; False when the connection is closing or too slow."""
        return self.outbox.push(Frame(text))

    def send_group(self, group: FrameGroup) -> bool:
        """Send several frames that nothing may come between; False as for `send`."""
        return self.outbox.push_all(group.frames(self.writer))

    @property
    def idle(self) -> bool:
        """True when nothing that was sent before still waits for the client."""
        return not (self.outbox.size or self.writer.held_bytes() or self.writer.held_frames())

    @property
    def is_lost(self) -> bool:
        """True where the server is known to have lost the client, which its reader need not have seen yet."""
        if self.state is not ConnectionState.OPEN:
            return True
        writer = self.writer
        # Before the handshake is answered the server's writer is not open yet.
        return isinstance(writer, DirectWriter) and not self.outbox.corked and not writer.is_open

    def uncork(self) -> None:
        """The handshake is answered: send what waits, or the close that came while the answer went out."""
        self.outbox.uncork()
        if self.close_sent is not None:
            self.writer.close(self.close_sent)

    def close(self, close: Close = NORMAL) -> None:
        """Send the frames that wait, then the close. A second call does nothing.

        Before the handshake is answered nothing can be sent: the consumer sees the state, and refuses it.
        """
        if self.state is not ConnectionState.OPEN:
            return
        if self.outbox.corked:
            self._closing(close)
            return

        self.outbox.flush()
        # The flush may have found the reader too slow. Then `_overflowed` has closed the connection with
        # SLOW.
        if self.close_sent is None:
            self._closing(close)
            self.writer.close(close)

    def without_own(self, addresses: Iterable[str]) -> list[str]:
        """Addresses to subscribe to: its own, `connection:<its id>`, reaches it anyway.

        Raises AddressError for that of another connection.
        """
        own = f"connection:{self.id}"
        others = [address for address in addresses if address != own]
        if any(address.startswith("connection:") for address in others):
            raise AddressError("a connection's own address is for itself alone")
        return others

    def notify_gap(self) -> None:
        """Say that messages may be missing: in the protocol's own way, or by a close that asks to return."""
        if self.on_gap is not None:
            self.on_gap()
        else:
            self.close(GAP)

    def mark_closed(self) -> None:
        """Send nothing from here on: the other end has left, or the close has been sent.

        What the connection calls has the connection, too: it is let go, so that nothing is left to collect.
        """
        self._discard()
        self.state = ConnectionState.CLOSED
        self.on_close = self.on_gap = None
        if isinstance(self.writer, AsgiWriter):
            self.writer.on_failure = lambda: None

    def _overflowed(self, frames: int) -> None:
        # The frames are counted here and those that the writer holds in `abort`: each owner counts its own.
        if self.state is not ConnectionState.OPEN:
            return
        metrics.LOST.labels(Loss.SLOW).inc(frames)
        self._closing(SLOW)
        if not self.outbox.corked:
            self.writer.abort(SLOW)

    def _closing(self, close: Close) -> None:
        self._discard()
        self.state = ConnectionState.CLOSING
        self.close_sent = close
        if self.follower is not None:
            self.follower.closing(close)
        if self.on_close is not None:
            self.on_close(close)

    def _discard(self) -> None:
        if lost := self.outbox.shut():
            metrics.LOST.labels(Loss.CLOSED).inc(lost)

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.protocol} {self.state.value}>"
