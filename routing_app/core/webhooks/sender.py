"""Delivers what stands in the outbox of webhooks, as long as a worker lives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final

from django.conf import settings
from django.db import connection

from routing_app.core import metrics, tracing
from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.database import GroupedWrites, Overloaded, query
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication
from routing_app.core.outgoing.client import Answer, Client
from routing_app.core.outgoing.failures import AddressRefused, CallFailed
from routing_app.core.outgoing.signature import sign
from routing_app.core.webhooks.known import FRESH_SECONDS, WEBHOOKS_CHANGED, webhooks
from routing_app.core.webhooks.outcomes import Attempt, write_attempts
from routing_app.core.webhooks.places import MAX_OF_ONE, Deliveries, Places, Taken
from routing_app.core.webhooks.retries import delay_after
from routing_app.core.webhooks.taking import LATEST_SECONDS, TIMEOUT_SECONDS, Look, give_back, take
from routing_app.core.webhooks.upkeep import (
    AT_ONCE,
    count_pending,
    forget_left_over,
    mend_waits,
    purge_some,
    waits_too_long,
)

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Between two looks for what is due again, or was written by a process that serves nobody."""
RETRY_SECONDS: Final = 1.0
"""After a failure of the database."""
UPKEEP_SECONDS: Final = 30.0
PURGE_EVERY: Final = 60
"""Turns of the upkeep between two looks for deliveries that are too old, or left over."""
EACH_SECONDS: Final = 0.02
"""After a look the next one waits so long for each delivery that was found, without those of webhooks that
have more: under load one look is for many, and none waits where there are few."""
APART_SECONDS: Final = 0.2
"""The longest of such waits. Attempts that end within so long are written together, too."""
WRITE_SECONDS: Final = 10.0
GONE: Final = 410
OURS: Final = {"content-type": "application/json"}

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class WebhookSender:
    """Sends for one worker: takes deliveries that are due, and has a task for each."""

    def __init__(self, spawn: Spawn, hub: Hub) -> None:
        self._spawn = spawn
        self._hub = hub
        self._writes = GroupedWrites(APART_SECONDS)
        self._takes = GroupedWrites()
        self._left: frozenset[int] = frozenset()
        """Webhooks of which the last look has left some: each call that ends makes room."""
        self._work = asyncio.Event()
        self.on_off: list[Callable[[int], None]] = []
        """Called with the id of a webhook that has failed for so long that it was switched off."""
        self._deliveries = Deliveries()
        self._client = Client(private=settings.WEBHOOKS_PRIVATE)

    def start(self) -> None:
        """Look into the table from now on."""
        self._spawn(self._run())
        self._spawn(self._keep_up())

    def wake(self) -> None:
        """There may be something to send."""
        self._work.set()

    # --- taking -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                pause = POLL_SECONDS if webhooks else FRESH_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._work.wait()
                self._work.clear()
                try:
                    await self._take()
                except Exception as error:
                    logger.warning("webhooks wait: %s", type(error).__name__)
                    await asyncio.sleep(RETRY_SECONDS)
                    self.wake()
        finally:
            self._give_back(self._deliveries.drop_next())
            await self._client.close()

    async def _take(self) -> None:
        """Take what is due, as far as there is room; each that ends makes some, and wakes this again."""
        places = self._deliveries.places()
        if not webhooks or places.free <= 0:
            return
        taking = self._begin_taking(places)
        try:
            found = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # A look that fails has taken nothing. Its error must not take the place of the end.
            with suppress(Exception):
                self._give_back([one.id for one in (await taking).taken])
            raise
        self._left = found.left
        for webhook in self._deliveries.add(found.taken, monotonic()):
            self._start(webhook)
        of_those_left = sum(one.webhook in found.left for one in found.taken)
        if of_those_left < MAX_OF_ONE:
            others = len(found.taken) - of_those_left
            await asyncio.sleep(min(APART_SECONDS, EACH_SECONDS * max(1, others)))

    def _begin_taking(self, places: Places) -> asyncio.Future[Look]:
        if connection.vendor == "sqlite":
            # Of two threads that write one would sleep until the other is done, and longer.
            return self._takes.submit(partial(take, places))
        return asyncio.ensure_future(query(take, places))

    # --- sending ----------------------------------------------------------------------------------------

    def _start(self, webhook: int) -> None:
        """Send what is taken of a webhook, as far as there is room; what it wants in another way by now is
        found again.
        """
        changed = []
        while (first := self._deliveries.start(webhook)) is not None:
            if webhooks.have_changed(first[0]):
                self._deliveries.leave(first[0])
                changed.append(first[0].id)
            else:
                self._spawn(self._deliver(*first))
        self._give_back(changed)

    async def _deliver(self, one: Taken, taken_at: float) -> None:
        began = monotonic()
        try:
            # This process may have been stopped for a while, or the receiver has become slow.
            with tracing.span("webhook", "CLIENT"):
                attempt = await self._attempt(one) if began - taken_at < LATEST_SECONDS else None
        except asyncio.CancelledError:
            self._give_back([one.id])
            raise
        finally:
            is_looked_for = one.webhook in self._left or self._deliveries.is_crowded
            if self._deliveries.end(one, monotonic() - began) and is_looked_for:
                self.wake()
        self._start(one.webhook)
        if attempt is not None:
            metrics.WEBHOOK.labels(attempt.outcome).observe(monotonic() - began)
            await self._write(attempt)

    async def _attempt(self, one: Taken) -> Attempt:
        body = one.body.encode()
        try:
            ours = {**OURS, **sign(one.target.secrets, one.id, int(time.time()), body)}
            theirs = {name.lower(): value for name, value in one.target.headers.items()}
            answer = await self._client.post(one.target.url, body, {**theirs, **ours}, TIMEOUT_SECONDS)
        except AddressRefused as refused:
            error = f"{refused}; WEBHOOKS_PRIVATE=yes would allow it"
        except CallFailed as failure:
            error = str(failure)
        except Exception as broken:
            # Of one row: it must not be tried for ever, nor keep others from being sent.
            logger.warning("webhook %s cannot be called: %s", one.webhook, type(broken).__name__)
            error = f"it cannot be called: {type(broken).__name__}"
        else:
            return _judged(one, answer)
        return Attempt(one.id, one.webhook, None, error, delay=delay_after(one.attempts + 1, {}))

    async def _write(self, attempt: Attempt) -> None:
        """Write what came of it; while the database is out, until the delivery is due again anyway."""
        deadline = monotonic() + WRITE_SECONDS
        while True:
            try:
                off = await self._writes.submit_item(write_attempts, attempt)
                break
            except Exception as error:
                if monotonic() > deadline:
                    logger.warning("a webhook is called once more: %s", type(error).__name__)
                    return
            await asyncio.sleep(RETRY_SECONDS)
        if attempt.webhook in off:
            off.remove(attempt.webhook)  # all attempts that were written together have this list
            for hook in self.on_off:
                hook(attempt.webhook)
            await self._hub.publish(Publication((EVERYBODY,), None, WEBHOOKS_CHANGED))

    async def settled(self) -> None:
        """Wait until nothing is left to write."""
        await self._writes.settled()

    def _give_back(self, ids: Iterable[str]) -> None:
        """Have deliveries taken again at once, by another worker or by this one."""
        if ids := list(ids):
            with suppress(Overloaded):
                self._writes.submit(lambda: give_back(ids)).add_done_callback(lambda _: self.wake())

    # --- upkeep -----------------------------------------------------------------------------------------

    async def _keep_up(self) -> None:
        turn, too_long = 0, False
        while True:
            try:
                too_long = await self._mend(too_long) if webhooks else False
                await query(count_pending)
                if turn % PURGE_EVERY == 0:
                    await self._purge()
                turn += 1
            except Exception as error:
                logger.warning("upkeep of webhooks waits: %s", type(error).__name__)
            await asyncio.sleep(UPKEEP_SECONDS)

    async def _purge(self) -> None:
        await query(forget_left_over)
        while await query(purge_some) == AT_ONCE:
            await asyncio.sleep(0.1)

    async def _mend(self, before: bool) -> bool:
        """Make due what waits too long, if it did so at the turn before; true when some waits too long."""
        if not await query(waits_too_long):
            return False
        if before:
            await query(mend_waits)
            self.wake()
        return not before


def _judged(one: Taken, answer: Answer) -> Attempt:
    """The attempt by its answer: 2xx ends it, 410 ends the webhook, too."""
    if 200 <= answer.status < 300:
        return Attempt(one.id, one.webhook, answer.status, is_done=True)
    if answer.status == GONE:
        return Attempt(one.id, one.webhook, GONE, "the receiver wants no more", is_gone=True)
    words = f"the receiver answered {answer.status}"
    if 300 <= answer.status < 400:
        words += "; redirects are not followed"
    delay = delay_after(one.attempts + 1, answer.headers)
    return Attempt(one.id, one.webhook, answer.status, words, delay=delay)
