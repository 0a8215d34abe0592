"""Calls between workers: one asks, another answers, in several parts where it likes.

A call goes to `worker:<id>` over the relay, and its answers come back the same way, in order. A call to a
worker that is gone, by what the relay receives (`peers`), fails within seconds; one to a worker that has said
goodbye fails at once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from routing_app.core.address import make
from routing_app.core.cluster.spread import AnyRelay
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication
from routing_app.core.standstill import Within

logger = logging.getLogger(__name__)

ASK: Final = "$calls.ask"
"""Event of a publication to the worker that is asked: `[asker, number, verb, payload]`."""
ANSWER: Final = "$calls.answer"
"""Event of a publication to the asker: `[number, stage, payload]`."""
CANCEL: Final = "$cancel"
PARTIAL, DONE, REFUSED, FAILED = "partial", "done", "refused", "failed"
LOOK_SECONDS: Final = 0.25
"""Time between two looks whether the workers that calls wait for are gone."""


class CallError(Exception):
    """A call has no answer."""


class WorkerGone(CallError):
    """The worker that was asked has ended, or nothing is received from it any more."""


class CallFailed(CallError):
    """The worker that was asked failed to answer; its log says why."""


class CallRefused(CallError):
    """Raised by the function that serves a call: the answer is no. `payload`, any JSON, says why."""

    def __init__(self, payload: Any) -> None:
        super().__init__(str(payload))
        self.payload = payload


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call of another worker that is served here."""

    asker: str
    """The id of the worker that asks."""
    payload: Any
    partial: Callable[[Any], Awaitable[None]]
    """Sends a part of the answer, any JSON."""


Serve = Callable[[Incoming], Coroutine[Any, Any, Any]]
"""Serves one verb and returns the answer, any JSON; it may raise CallRefused."""


@dataclass(eq=False, slots=True)
class _Waiting:
    worker_id: str
    since: float
    answer: asyncio.Future[Any]
    on_partial: Callable[[Any], None] | None


@dataclass(frozen=True, slots=True)
class _Verb:
    serve: Serve
    stops: bool = field(default=True)
    """True when it ends as soon as the asker does not wait any longer."""


class Calls:
    """The calls that one worker makes, and those that it serves."""

    def __init__(
        self,
        worker_id: str,
        hub: Hub,
        relay: AnyRelay,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._worker_id = worker_id
        self._hub = hub
        self._relay = relay
        self._spawn = spawn
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._verbs: dict[str, _Verb] = {}
        self._serving: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        hub.on(ASK, self._asked)
        hub.on(ANSWER, self._answered)

    # --- asking -------------------------------------------------------------------------------------------

    async def call(
        self,
        worker_id: str,
        verb: str,
        payload: Any = None,
        timeout: float | None = None,
        on_partial: Callable[[Any], None] | None = None,
    ) -> Any:
        """Ask a worker, and return its answer; `on_partial` gets the parts that come before it.

        `payload` is any JSON. Raises WorkerGone, CallRefused, CallFailed, TimeoutError, and
        LayerUnavailable when no answer could reach this process. A caller that stops waiting cancels the call
        on the other side, too.
        """
        if not self._relay.reaches_others or self._relay.peers.is_gone(worker_id, self._relay.peers.now()):
            raise WorkerGone(worker_id)
        # The subscription comes before the question: a process that only publishes has none, and would not
        # receive the answer.
        await self._relay.want([make("worker", self._worker_id)])
        number = next(self._numbers)
        # Question, parts and answer of one call go by one server, so that they keep their order.
        server = self._relay.pick(worker_id)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(worker_id, self._relay.peers.now(), answer, on_partial)
        if self._looking is None or self._looking.done():
            self._looking = self._spawn(self._look_for_the_gone())
        try:
            async with Within(timeout):
                await self._tell(worker_id, ASK, [self._worker_id, number, verb, payload], server)
                return await answer
        except (asyncio.CancelledError, TimeoutError):
            # In a task of its own: a cancelled caller must not be held up by the layer.
            self._spawn(self._tell(worker_id, ASK, [self._worker_id, number, CANCEL, None], server))
            raise
        finally:
            del self._waiting[number]

    async def _look_for_the_gone(self) -> None:
        """Fail calls whose worker is gone. One task for all calls, which ends with the last of them."""
        peers = self._relay.peers
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            waiting = [one for one in self._waiting.values() if not one.answer.done()]
            # Where workers are many, heartbeats come seldom: one that lives answers a greeting at once.
            for worker_id in {one.worker_id for one in waiting if peers.is_quiet(one.worker_id, one.since)}:
                self._relay.greet(worker_id)
            for one in waiting:
                if peers.is_gone(one.worker_id, one.since):
                    one.answer.set_exception(WorkerGone(one.worker_id))

    def _answered(self, publication: Publication) -> int:
        number, stage, payload = publication.message
        waiting = self._waiting.get(number) if self._is_mine(publication) else None
        # An answer may come after the caller has gone, or after its worker was taken for gone.
        if waiting is None or waiting.answer.done():
            return 0
        if stage == PARTIAL:
            if waiting.on_partial is not None:
                waiting.on_partial(payload)
        elif stage == DONE:
            waiting.answer.set_result(payload)
        else:
            waiting.answer.set_exception(CallRefused(payload) if stage == REFUSED else CallFailed(payload))
        return 1

    # --- serving ------------------------------------------------------------------------------------------

    def serve(self, verb: str, serve: Serve, stops: bool = True) -> None:
        """Answer `verb` in this worker; `stops`: it is cancelled when the asker does not wait any longer.

        A verb that changes something should not stop in the middle: the asker may be gone, the change is
        wanted.
        """
        self._verbs[verb] = _Verb(serve, stops)

    def _asked(self, publication: Publication) -> int:
        if not self._is_mine(publication):
            return 0
        asker, number, verb, payload = publication.message
        key = (asker, number)
        if verb == CANCEL:
            if (task := self._serving.pop(key, None)) is not None:
                task.cancel()
            return 1
        served = self._verbs.get(verb)
        task = self._spawn(self._serve(asker, number, served, payload, publication.server))
        if served is not None and served.stops:  # the others are not remembered: CANCEL finds none
            self._serving[key] = task
            task.add_done_callback(lambda _: self._serving.pop(key, None))
        return 1

    async def _serve(
        self, asker: str, number: int, verb: _Verb | None, payload: Any, server: int | None
    ) -> None:
        async def partial(piece: Any) -> None:
            await self._tell(asker, ANSWER, [number, PARTIAL, piece], server)

        try:
            if verb is None:
                raise LookupError("no such verb")
            answer = [number, DONE, await verb.serve(Incoming(asker, payload, partial))]
        except CallRefused as refused:
            answer = [number, REFUSED, refused.payload]
        except Exception:
            logger.exception("a call of another worker failed")
            answer = [number, FAILED, "the other worker failed"]
        await self._tell(asker, ANSWER, answer, server)

    # --- both ---------------------------------------------------------------------------------------------

    def _is_mine(self, publication: Publication) -> bool:
        return publication.addresses == (make("worker", self._worker_id),)

    async def _tell(self, worker_id: str, event: str, message: list[Any], server: int | None) -> None:
        publication = Publication((make("worker", worker_id),), message, event, server=server)
        # Not by `publish`: messages between workers do not count as published.
        if worker_id == self._worker_id:
            self._hub.deliver(publication)
        else:
            self._hub.hand_over(publication)
            await self._hub.caught_up()
