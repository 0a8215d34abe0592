"""Frames that wait for one connection: bounded, and written once at the end of the loop turn.

Publishing appends the same `Frame` to each receiver's outbox; the first append marks the outbox dirty, and
the flusher writes every dirty outbox at the end of the turn. Bounds count what the writer still holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from routing_app.core import metrics

if TYPE_CHECKING:
    from routing_app.core.delivery.frame import Frame
    from routing_app.core.delivery.writer import Writer

logger = logging.getLogger(__name__)

SLICE: Final = 1000
"""Outboxes written before other callbacks of the loop get a turn: 1,000 sockets take about 5 ms."""
SMALL_SLICE: Final = 250
"""The same while more than SLICE wait. A message that is published between two slices joins the frames that
wait in later ones, and costs a write of its own in those that were written. With small slices most sockets
are still waiting (2,000 sockets: 0.39 µs a delivery against 0.55)."""


class UntilWritten:
    """Counts the publications that some outbox waits to write, and observes them when all are written.

    One observation a turn of the loop: for each of them, however many receivers it has, would be too dear.
    """

    __slots__ = ("begun", "published")

    def __init__(self) -> None:
        self.begun = 0.0
        """When the first of them was published; of no meaning while there is none."""
        self.published = 0

    def add(self, begun: float) -> None:
        """A publication that began at this time of `monotonic` is in some outbox."""
        if not self.published or begun < self.begun:
            self.begun = begun
        self.published += 1

    def written(self) -> None:
        """No outbox waits."""
        metrics.PUBLISH.observe(monotonic() - self.begun, self.published)
        self.published = 0


class Flusher:
    """Writes the dirty outboxes of one event loop at the end of the turn in which they became dirty."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Outbox] = []
        self._scheduled = False
        self.until_written = UntilWritten()

    def mark(self, outbox: Outbox) -> None:
        """Have `outbox` written soon; called once per outbox and turn."""
        self._dirty.append(outbox)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def read(self, own: Outbox, handle: Callable[[], None]) -> None:
        """Handle the frames of one read; `own` is the outbox of the client that sent them.

        If nothing but answers to this client waits then, they are written now: that saves a turn of the loop,
        which has to ask the kernel for events. A message to many is written at the end of the turn, when
        others may have joined it.
        """
        if self._scheduled:
            handle()
            return
        self._scheduled = True  # by this method itself
        try:
            handle()
        finally:
            if self._dirty == [own]:
                self._dirty, self._scheduled = [], False
                _flush(own)
                if self.until_written.published:
                    self.until_written.written()
            elif self._dirty:
                self._loop.call_soon(self._flush)
            else:
                self._scheduled = False

    def _flush(self) -> None:
        # The next slice is scheduled before this one is written: an outbox that becomes dirty while it is
        # written lands behind the others, and a failing writer cannot stop the flusher.
        size = SLICE if len(self._dirty) <= SLICE else SMALL_SLICE
        batch, self._dirty = self._dirty[:size], self._dirty[size:]
        self._scheduled = bool(self._dirty)
        if self._scheduled:
            self._loop.call_soon(self._flush)
        for outbox in batch:
            _flush(outbox)
        if self.until_written.published and not self._scheduled:
            self.until_written.written()


class Outbox:
    """Frames of one connection that are not with its writer yet.

    `overflow` is called once, when the backlog exceeds `max_bytes` or `max_frames` although the writer was
    given the chance to take it, with the number of frames that were not given to the writer; nothing is
    accepted after that.
    """

    __slots__ = (
        "_corked",
        "_flusher",
        "_max_bytes",
        "_max_frames",
        "_overflow",
        "frames",
        "open",
        "sent",
        "sent_bytes",
        "size",
        "writer",
    )

    def __init__(
        self,
        flusher: Flusher,
        writer: Writer,
        overflow: Callable[[int], None],
        max_bytes: int,
        max_frames: int,
    ) -> None:
        self._flusher = flusher
        self.writer = writer
        """The connection's, or one before it, while its frames are traced."""
        self._overflow = overflow
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self.frames: list[Frame] = []
        self.size = 0
        self.sent = self.sent_bytes = 0
        """Frames that were handed to the writer, and the bytes of their payloads."""
        self.open = True
        self._corked = False

    def push(self, frame: Frame) -> bool:
        """Queue one frame; False when the outbox is closed or this frame overflows it."""
        if not self.open:
            return False
        frames = self.frames
        if not frames:
            self._flusher.mark(self)
        frames.append(frame)
        self.size += frame.size
        # A burst within one turn may exceed the bounds although the reader is quick: it is too slow only if
        # the writer cannot take the frames either.
        if self.size > self._max_bytes or len(frames) > self._max_frames:
            self.flush()
        return self.open

    def push_all(self, frames: Sequence[Frame]) -> bool:
        """Queue frames that nothing may come between; False as for `push`."""
        if not self.open:
            return False
        if not self.frames:
            self._flusher.mark(self)
        self.frames += frames
        self.size += sum(frame.size for frame in frames)
        if self.size > self._max_bytes or len(self.frames) > self._max_frames:
            self.flush()
        return self.open

    def flush(self) -> None:
        """Hand all frames to the writer, unless it holds too much already: then the reader is slow."""
        frames = self.frames
        if not frames or not self.open:
            return
        if not self._corked:
            # A new list, not a cleared one: the writer keeps the old list.
            self.sent += len(frames)
            self.sent_bytes += self.size
            self.frames, self.size = [], 0
            self.writer.write(frames)
        if (
            self.size + self.writer.held_bytes() > self._max_bytes
            or len(self.frames) + self.writer.held_frames() > self._max_frames
        ):
            self._overflow(self.shut())

    @property
    def filled(self) -> float:
        """The part of its bounds that frames here and at the writer take: of bytes or frames, the larger."""
        return max(
            (self.size + self.writer.held_bytes()) / self._max_bytes,
            (len(self.frames) + self.writer.held_frames()) / self._max_frames,
        )

    @property
    def corked(self) -> bool:
        """True while frames are kept back."""
        return self._corked

    def cork(self) -> None:
        """Keep frames back until `uncork`: the connection is not accepted yet."""
        self._corked = True

    def uncork(self) -> None:
        """Write the frames that wait, and from now on every turn."""
        self._corked = False
        self.flush()

    def shut(self) -> int:
        """Accept nothing more; returns how many frames were thrown away."""
        lost, self.frames, self.size, self.open = len(self.frames), [], 0, False
        self._overflow = lambda frames: None  # the connection has this outbox: each would keep the other
        return lost


def deliver(outboxes: Iterable[Outbox], frame: Frame) -> int:
    """Push one frame to many outboxes; how many took it.

    Every delivery passes this loop, so `Outbox.push` to an outbox that is in use is written out here.
    """
    took, size = 0, frame.size
    for outbox in outboxes:
        frames = outbox.frames
        # An outbox with frames is open and known to the flusher; within its bounds there is nothing else to
        # do.
        if frames and len(frames) < outbox._max_frames and (total := outbox.size + size) <= outbox._max_bytes:
            frames.append(frame)
            outbox.size = total
            took += 1
        elif outbox.push(frame):
            took += 1
    return took


def _flush(outbox: Outbox) -> None:
    try:
        outbox.flush()
    except Exception:
        logger.exception("an outbox could not be written")
