"""The traces of one worker: begun, read and ended by the worker of the console that shows them.

A trace that is not read for LEASE_SECONDS ends, so that a console that vanished costs nothing. Connections
that match while a trace runs are followed from then on, until it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from routing_app.core import metrics
from routing_app.core.cluster.calls import CallRefused, Calls, Incoming
from routing_app.core.delivery.connection import Connection, ConnectionState
from routing_app.core.delivery.hub import Hub
from routing_app.core.frame_trace.follower import Follower
from routing_app.core.frame_trace.recording import Note, Recording
from routing_app.core.frame_trace.target import Target, TargetKind
from routing_app.core.protocol import find

if TYPE_CHECKING:
    from routing_app.core.leases.presence import Presence

BEGIN: Final = "frame_trace.begin"
READ: Final = "frame_trace.read"
END: Final = "frame_trace.end"
MAX_TRACES: Final = 16
"""Traces at once."""
MAX_FOLLOWED: Final = 100
"""Connections that one trace follows in one worker; the others are counted. Each costs its worker a call of a
function for every frame."""
LEASE_SECONDS: Final = 15.0
"""Longer than a worker of a console may stand still: what is noted goes with its trace."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at what has not been read, or is over."""
WAIT_SECONDS: Final = 1.0
"""A read is answered after so long, also with nothing."""
BATCH_SECONDS: Final = 0.2
"""Time in which frames join the first one of a batch."""
SLICE: Final = 1000
"""Connections that are looked at before others get a turn of the loop."""

Batch = dict[str, Any]
"""`frames` (`recording.Note`), `dropped` (frames not shown), `followed` and `left_out` (connections now), and
the `number` of one that was read."""


class Running:
    """One trace in this worker."""

    def __init__(self, target: Target, recording: Recording, until: float) -> None:
        self.target = target
        self.recording = recording
        self.until = until
        """Time of the loop at which it ends."""
        self.followed: set[Connection] = set()
        self.left_out: set[Connection] = set()
        self.readers = 0
        self.read_at = 0.0
        self.last: Batch = {}
        """The batch that was read last, until its reader has said that it came."""
        self.number = 0
        """Of that batch; they count from 1."""

    def misses(self, come: int | None) -> bool:
        """True for a reader to whom the last batch has not come."""
        return come is not None and come < self.number

    def is_over(self, now: float) -> bool:
        """True when its time is over, or nobody reads it."""
        return now >= self.until or (not self.readers and now >= self.read_at + LEASE_SECONDS)


class FrameTraces:
    """What is traced in one worker."""

    def __init__(
        self,
        hub: Hub,
        presence: Presence,
        calls: Calls,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._hub = hub
        self._presence = presence
        self._spawn = spawn
        self._running: dict[str, Running] = {}
        self._followers: dict[Connection, Follower] = {}
        self._looking: asyncio.Task[None] | None = None
        calls.serve(BEGIN, self._serve(self.begin), stops=False)
        calls.serve(READ, self._serve(self.read))
        calls.serve(END, self._serve(self.end), stops=False)

    # --- called by the worker of the console --------------------------------------------------------------

    async def begin(self, id: str, kind: str, value: str, bodies: bool, seconds: float) -> None:
        """Follow what matches, for at most so long. Raises CallRefused beyond MAX_TRACES."""
        if id in self._running:
            return
        if len(self._running) >= MAX_TRACES:
            raise CallRefused(f"at most {MAX_TRACES} traces at once")
        now = asyncio.get_running_loop().time()
        running = Running(Target(TargetKind(kind), value), Recording(bodies), now + seconds)
        running.read_at = now
        if not self._running:
            self._hub.traces = self
            self._presence.on_record.append(self.look_at)
        self._running[id] = running
        if self._looking is None or self._looking.done():
            self._looking = self._spawn(self._end_those_that_are_over())
        connections = self._hub.connections()
        for start in range(0, len(connections), SLICE):
            for connection in connections[start : start + SLICE]:
                self._look(running, connection)
            await asyncio.sleep(0)
            if self._running.get(id) is not running:
                return  # it has ended meanwhile, and nobody would take back what is followed from here on

    async def read(self, id: str, come: int | None = None) -> Batch:
        """What was noted since the last read; waits for something. Raises CallRefused for an unknown id.

        `come` is the number of the last batch that has come: one that got lost on its way is given again.
        """
        running = self._running.get(id)
        if running is None:
            raise CallRefused(None)
        running.readers += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS if not running.misses(come) else 0):
                    await running.recording.some.wait()
                    await asyncio.sleep(BATCH_SECONDS)
        finally:
            running.readers -= 1
            running.read_at = asyncio.get_running_loop().time()
        if not running.misses(come):  # nor has a read that nobody waits for any more taken one meanwhile
            running.number += 1
            running.last = _batch(running) | {"number": running.number}
        return running.last

    async def end(self, id: str) -> Batch | None:
        """Follow no more; the rest of what was noted, None where it has ended before."""
        running = self._stop(id)
        return None if running is None else _batch(running)

    @staticmethod
    def _serve(answer: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[[Incoming], Any]:
        def serve(call: Incoming) -> Coroutine[Any, Any, Any]:
            return answer(*call.payload)

        return serve

    # --- called where connections come, change and go -----------------------------------------------------

    def look_at(self, connection: Connection) -> None:
        """A connection has come, or its identity or an address of it is another."""
        for running in self._running.values():
            self._look(running, connection)

    def forget(self, connection: Connection) -> None:
        """A connection has gone."""
        if (follower := self._followers.pop(connection, None)) is not None:
            follower.release()
            metrics.TRACED.set(len(self._followers))
        for running in self._running.values():
            running.followed.discard(connection)
            running.left_out.discard(connection)

    def _look(self, running: Running, connection: Connection) -> None:
        if connection in running.followed or connection in running.left_out:
            return
        if connection.state is ConnectionState.CLOSED:
            return  # it has been forgotten, or will not be known
        if not running.target.matches(connection) or _is_of_operators(connection):
            return
        if len(running.followed) >= MAX_FOLLOWED:
            running.left_out.add(connection)
            return
        running.followed.add(connection)
        follower = self._followers.get(connection)
        if follower is None:
            follower = self._followers[connection] = Follower(connection)
            metrics.TRACED.set(len(self._followers))
        follower.recordings.append(running.recording)

    # --- the end ------------------------------------------------------------------------------------------

    def _stop(self, id: str) -> Running | None:
        running = self._running.pop(id, None)
        if running is None:
            return None
        for connection in running.followed:
            follower = self._followers[connection]
            follower.recordings.remove(running.recording)
            if not follower.recordings:
                follower.release()
                del self._followers[connection]
        metrics.TRACED.set(len(self._followers))
        if not self._running:
            self._hub.traces = None
            self._presence.on_record.remove(self.look_at)
        return running

    async def _end_those_that_are_over(self) -> None:
        """One task for all traces, which ends with the last of them."""
        loop = asyncio.get_running_loop()
        while self._running:
            await asyncio.sleep(LOOK_SECONDS)
            for id in [id for id, running in self._running.items() if running.is_over(loop.time())]:
                self._stop(id)


def _batch(running: Running) -> Batch:
    frames: list[Note]
    frames, dropped = running.recording.take()
    return {
        "frames": frames,
        "dropped": dropped,
        "followed": len(running.followed),
        "left_out": len(running.left_out),
    }


def _is_of_operators(connection: Connection) -> bool:
    """A console that traced itself would have frames of its frames."""
    protocol = find(connection.protocol)
    return protocol is not None and protocol.of_operators
