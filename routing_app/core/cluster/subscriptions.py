"""The subscriptions of this process at the channel layer, as they are and as they should be.

Steps of one task, in order: new addresses are subscribed to in rounds, each proven by an echo before anybody
is told; addresses that nobody needs any more are unsubscribed from a few at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.address import group_name
from routing_app.core.standstill import Within

CONFIRM_SECONDS: Final = 3.0
"""Longest time of a round of subscriptions until its echo has come."""
SUBSCRIPTIONS: Final = 500
"""Subscriptions begun in one round: many new clients at once take several, each within its time."""
DISCARDS: Final = 64
"""Subscriptions ended in one round, so that many clients that leave at once do not hold up envelopes."""
DISCARD_SECONDS: Final = 1.0
"""Longest time to end one, and the pause after a failure."""

Future = asyncio.Future[None]


class LayerUnavailable(Exception):
    """The channel layer does not answer; the request has not been carried out."""


class Subscriptions:
    """The subscriptions of one process.

    `channel` opens, once, and returns the channel that the layer delivers to; `prove` returns when every
    subscription begun before is in force; `work` is called when `begin` or `end` has something to do.
    """

    def __init__(
        self,
        layer: Any,
        channel: Callable[[], Awaitable[str]],
        prove: Callable[[], Awaitable[None]],
        work: Callable[[], None],
    ) -> None:
        self._layer = layer
        self._open_channel = channel
        self._prove = prove
        self._work = work
        self._channel = ""
        self._held: set[str] = set()
        """Addresses whose subscription has been proven."""
        self._asked: dict[str, Future] = {}
        """Addresses to subscribe to, in order; a future resolves when the subscription has been proven."""
        self._dropped: set[str] = set()
        """Addresses to unsubscribe from."""

    async def want(self, addresses: Iterable[str]) -> None:
        """Subscribe and wait until the layer is seen to honour it.

        Raises LayerUnavailable; some may be subscribed to all the same until they are unwanted.
        """
        self._dropped.difference_update(addresses)
        missing = [address for address in addresses if address not in self._held]
        if not missing:
            return
        loop = asyncio.get_running_loop()
        waiting = [self._asked.setdefault(address, loop.create_future()) for address in missing]
        self._work()
        # A future may be shared with another connection: its cancellation is not ours.
        for future in waiting:
            await asyncio.shield(future)

    def unwant(self, address: str) -> None:
        """Unsubscribe some time soon."""
        self._dropped.add(address)
        self._work()

    def forget(self) -> None:
        """Hold nothing any more; callers that wait get LayerUnavailable."""
        _fail(self._asked.values(), LayerUnavailable("stopped"))
        self._asked = {}
        self._held.clear()
        self._dropped.clear()

    async def begin(self) -> None:
        """Subscribe to some of the addresses that are wanted, and tell their callers."""
        asked = {address: self._asked.pop(address) for address in list(islice(self._asked, SUBSCRIPTIONS))}
        if self._asked:
            self._work()
        # Asked for again while the round before was still being proven, an address may be held by now.
        _resolve(asked.pop(address) for address in asked.keys() & self._held)
        if not asked:
            return
        try:
            async with Within(CONFIRM_SECONDS):
                self._channel = await self._open_channel()
                for address in asked:
                    await self._layer.group_add(group_name(address), self._channel)
                await self._prove()
        except Exception as error:
            metrics.LAYER_ERRORS.inc()
            _fail(asked.values(), LayerUnavailable(f"cannot subscribe: {error}"))
        except BaseException:
            _fail(asked.values(), LayerUnavailable("stopped"))
            raise
        else:
            self._held.update(asked)
            _resolve(asked.values())

    async def end(self) -> None:
        """Unsubscribe from some of the addresses that nobody needs any more."""
        for _ in range(DISCARDS):
            if not self._dropped:
                return
            address = self._dropped.pop()
            # Wanted, and given up before its round came: it is subscribed to first, then dropped. Ended
            # now, it would come back with the next round, and nobody would end it.
            if address in self._asked:
                self._dropped.add(address)
                return
            if not await self._discard(address):
                return
        if self._dropped:
            self._work()

    async def _discard(self, address: str) -> bool:
        """Unsubscribe; False when the layer fails, and it will be tried again."""
        self._held.discard(address)
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                await self._layer.group_discard(group_name(address), self._channel)
        except Exception:
            metrics.LAYER_ERRORS.inc()
            if address not in self._asked:  # else somebody wanted it again while the layer hung
                self._dropped.add(address)
            asyncio.get_running_loop().call_later(DISCARD_SECONDS, self._work)
            return False
        return True


def _resolve(futures: Iterable[Future]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _fail(futures: Iterable[Future], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # retrieved: the waiter may be gone
