"""One trace as its operator sees it: of all workers, merged, and recorded in the audit log."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from time import time
from typing import Any, Final

from routing_app.core.audit.actor import Actor
from routing_app.core.audit.entries import record
from routing_app.core.cluster.calls import CallError, CallRefused, WorkerGone
from routing_app.core.frame_trace.recording import RATE, Note, Rate
from routing_app.core.frame_trace.target import Target
from routing_app.core.frame_trace.traces import BEGIN, END, LEASE_SECONDS, READ, Batch
from routing_app.core.worker import LayerUnavailable, Worker

logger = logging.getLogger(__name__)

MAX_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 0.5
"""Between two looks for workers that have come."""
BEGIN_SECONDS: Final = 2.0
"""Longest wait until every worker follows."""
READ_SECONDS: Final = 12.0
"""Longest wait for a batch. It is less than a trace goes on without a reader."""
CALL_SECONDS: Final = 3.0
"""Longest wait for a worker that is asked something else."""
RETRY_SECONDS: Final = 0.5
WAITING: Final = 5 * RATE
"""Most frames that wait for the page; the others are counted."""

FAILURES: Final = (CallError, TimeoutError, LayerUnavailable)


class TooManyTraces(Exception):
    """A worker takes no more traces, with a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who traces: for the audit log."""

    actor: Actor
    network: str = ""


class Trace:
    """Follows `target` in every worker, also in those that come later, for at most `seconds`.

    `batches` gives `frames`, `dropped` (frames that were not shown since the batch before), `followed` and
    `left_out` (connections now), and `ends_at` (seconds since 1970). The first one comes once every worker
    that answers soon follows.
    """

    def __init__(
        self, worker: Worker, target: Target, watcher: Watcher, bodies: bool, seconds: float = MAX_SECONDS
    ) -> None:
        self._worker = worker
        self._target = target
        self._watcher = watcher
        self._bodies = bodies
        self._id = secrets.token_hex(8)
        traces = worker.traces
        self._here: Final[dict[str, Callable[..., Coroutine[Any, Any, Any]]]] = {
            BEGIN: traces.begin,
            READ: traces.read,
            END: traces.end,
        }
        """The verbs in this worker."""
        self._loop = asyncio.get_running_loop()
        seconds = min(seconds, MAX_SECONDS)
        self._until = self._loop.time() + seconds
        self._ends_at = time() + seconds
        self._rate = Rate()
        self._frames: list[Note] = []
        self._dropped = 0
        self._shown = self._not_shown = 0
        """Of the whole trace."""
        self._counts: dict[str, tuple[int, int]] = {}
        """Connections that each worker follows, and leaves out."""
        self._refused = ""
        """The reason for which a worker does not follow."""
        self._has_ended = False
        self._some = asyncio.Event()
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._come: dict[str, int] = {}
        """The number of the last batch of each worker."""
        self._begun: dict[str, asyncio.Event] = {}
        """Set once a worker follows, or cannot."""

    async def batches(self) -> AsyncIterator[Batch]:
        """What is seen, several times a second while there is something; ends with the trace.

        Raises TooManyTraces.
        """
        self._record("trace", "with bodies" if self._bodies else "without bodies")
        try:
            self._look_for_workers()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEGIN_SECONDS):
                    for begun in list(self._begun.values()):
                        await begun.wait()
            if self._refused:
                raise TooManyTraces(self._refused)
            yield self._take()
            while (left := self._until - self._loop.time()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LOOK_SECONDS)):
                        await self._some.wait()
                self._look_for_workers()
                yield self._take()
            yield await self._last()
        finally:
            self._stop()

    # --- from the workers ---------------------------------------------------------------------------------

    def _look_for_workers(self) -> None:
        peers = self._worker.relay.peers
        others = {one for one in peers.receivers() if not peers.is_gone(one, 0.0)}
        for worker_id in {self._worker.id, *others} - self._readers.keys():
            self._begun[worker_id] = asyncio.Event()
            self._readers[worker_id] = self._worker.spawn(self._read_from(worker_id))

    async def _read_from(self, worker_id: str) -> None:
        """Read from one worker until the trace, or the worker, ends."""
        try:
            while (left := self._until - self._loop.time()) > 0:
                try:
                    await self._ask(worker_id, BEGIN, *self._wanted(left))
                    self._begun[worker_id].set()
                    while True:
                        come = self._come.get(worker_id, 0)
                        self._add(worker_id, await self._ask(worker_id, READ, come))
                except CallRefused as refused:
                    if refused.payload is not None:
                        self._refused = str(refused.payload)
                        return
                    # It is not known there: it was not read for too long, or its time is over.
                except WorkerGone:
                    del self._readers[worker_id]  # it may come back
                    return
                except FAILURES as error:
                    logger.info("trace: worker %s does not answer: %s", worker_id, type(error).__name__)
                    self._begun[worker_id].set()
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._begun[worker_id].set()
            self._counts.pop(worker_id, None)

    def _wanted(self, left: float) -> list[Any]:
        return [self._target.kind, self._target.value, self._bodies, left + LEASE_SECONDS]

    async def _ask(self, worker_id: str, verb: str, *payload: Any) -> Any:
        if worker_id == self._worker.id:
            return await self._here[verb](self._id, *payload)
        timeout = READ_SECONDS if verb == READ else CALL_SECONDS
        return await self._worker.calls.call(worker_id, verb, [self._id, *payload], timeout)

    def _add(self, worker_id: str, batch: Batch | None) -> None:
        if batch is None:
            return
        self._come[worker_id] = batch.get("number", 0)
        self._counts[worker_id] = batch["followed"], batch["left_out"]
        self._dropped += batch["dropped"]
        for frame in batch["frames"]:
            if len(self._frames) < WAITING and self._rate.has_room():
                self._frames.append(frame)
            else:
                self._dropped += 1
        if self._frames or self._dropped:
            self._some.set()

    def _take(self) -> Batch:
        frames, self._frames = sorted(self._frames, key=lambda frame: frame["at"]), []
        dropped, self._dropped = self._dropped, 0
        self._shown += len(frames)
        self._not_shown += dropped
        self._some.clear()
        return {
            "frames": frames,
            "dropped": dropped,
            "followed": sum(followed for followed, _ in self._counts.values()),
            "left_out": sum(left_out for _, left_out in self._counts.values()),
            "ends_at": self._ends_at,
        }

    # --- the end ------------------------------------------------------------------------------------------

    async def _last(self) -> Batch:
        """What the workers have noted until the end."""
        await self._end_everywhere()
        if self._readers:  # each has had its last batch, or gets it now
            await asyncio.wait(self._readers.values(), timeout=CALL_SECONDS)
        self._has_ended = True
        return self._take()

    def _stop(self) -> None:
        """End it everywhere, without a wait: the page has gone, or its time is over."""
        for reader in self._readers.values():
            reader.cancel()
        if not self._has_ended:
            self._worker.spawn(self._end_everywhere())
        self._record("trace_end", f"{self._shown} frames shown, {self._not_shown} not")

    async def _end_everywhere(self) -> None:
        await asyncio.gather(*map(self._end_in, self._readers))

    async def _end_in(self, worker_id: str) -> None:
        with suppress(*FAILURES):  # it ends there by itself
            self._add(worker_id, await self._ask(worker_id, END))

    def _record(self, action: str, said: str) -> None:
        watcher = self._watcher
        record(action, f"{self._target.masked}, {said}", actor=watcher.actor, network=watcher.network)
