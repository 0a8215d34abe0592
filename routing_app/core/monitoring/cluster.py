"""All workers, as one of them asks: one call for each, all at once, and none waits for one that hangs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.cluster.calls import CallError
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.database import query
from routing_app.core.monitoring.workers import Members, leases

if TYPE_CHECKING:
    from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 2.0
"""Longest wait for the answer of a worker."""
READ_SECONDS: Final = 0.9
"""Leases are read at most so often."""

NO_ANSWER: Final = (CallError, LayerUnavailable, TimeoutError)


class NoAnswer(Exception):
    """A worker has gone, or does not answer in time."""


class Cluster:
    """The workers that one worker knows of; it asks for nothing by itself."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.members = Members()
        self.database_answers = True
        self._read_at = -READ_SECONDS
        self._reading: asyncio.Task[None] | None = None

    async def workers(self) -> list[str]:
        """The ids of all workers that serve, this one among them."""
        if time.monotonic() - self._read_at >= READ_SECONDS and (
            self._reading is None or self._reading.done()
        ):
            self._reading = self._worker.spawn(self._read())
        if self._reading is not None:
            # A database that is out makes nobody wait: the workers known so far are asked.
            await asyncio.wait([self._reading], timeout=READ_SECONDS)
            if not self._reading.done():
                self.database_answers = False
        return list(dict.fromkeys([self._worker.id, *self.members.serving()]))

    async def _read(self) -> None:
        try:
            rows = await query(leases)
        except Exception:
            self.database_answers = False
            return
        self.members.read(rows)
        self.database_answers = True
        self._read_at = time.monotonic()

    async def ask(self, worker_id: str, verb: str, payload: Any = None) -> Any:
        """The answer of one worker; None without one."""
        try:
            return await self.answer(worker_id, verb, payload)
        except NoAnswer:
            return None

    async def answer(self, worker_id: str, verb: str, payload: Any = None) -> Any:
        """The answer of one worker. Raises NoAnswer."""
        try:
            if worker_id == self._worker.id:
                return await self._worker.monitor.here(verb, payload)
            return await self._worker.calls.call(worker_id, verb, payload, timeout=ANSWER_SECONDS)
        except NO_ANSWER as error:
            logger.info("monitoring: worker %s does not answer: %s", worker_id, type(error).__name__)
            raise NoAnswer from error

    async def ask_all(
        self, verb: str, payload: Any = None, of: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """The answers of all workers by their ids; those without one are missing."""
        ids = await self.workers() if of is None else list(of)
        answers = await asyncio.gather(*(self.ask(id, verb, payload) for id in ids))
        return {id: answer for id, answer in zip(ids, answers, strict=True) if answer is not None}
