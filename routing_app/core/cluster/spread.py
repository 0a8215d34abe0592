"""Several channel layers, each on a Redis server of its own, as one: every address has one of them.

Each server has a relay with numbers, log and recovery of its own, so that everything a relay promises holds
for the addresses of its server, whatever happens to the others. A process is subscribed to its own address
on all servers: a call goes by one that works. A publication to addresses of several servers goes by each of
them, to the addresses of that server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import blake2b
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from routing_app.core.address import group_name
from routing_app.core.cluster.liveness import Peers
from routing_app.core.cluster.relay import Deliver, Relay
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.delivery.publication import Publication
from routing_app.core.ending import end_tasks

logger = logging.getLogger(__name__)

REOPEN_SECONDS: Final = 2.0
"""Pause between two attempts to open a server that was out when this process started."""


class OnGap(Protocol):
    """Tells of messages to some addresses that are missing and were published before a time."""

    def __call__(self, until: float = inf, concerns: Callable[[str], bool] = ...) -> int:
        """How many connections are concerned."""


@lru_cache(maxsize=65_536)
def server_of(group: str, servers: int) -> int:
    """The number of the server of a group: of all servers the one whose hash with it is the highest.

    So one more server takes its share from all others, and moves nothing between them.
    """
    return max(
        range(servers), key=lambda server: blake2b(f"{server} {group}".encode(), digest_size=8).digest()
    )


class Spread:
    """One process's end of several channel layers; the same for its users as one `Relay`.

    All processes have to be given the same layers in the same order.
    """

    reaches_others: Final = True

    def __init__(self, layers: Iterable[Any], worker: str, clock: Callable[[], float] = monotonic) -> None:
        self.peers = Peers()
        """Shared: a process is there as long as anything is received from it, by any server."""
        self.relays: Final = [
            Relay(layer, worker, clock, number, self.peers) for number, layer in enumerate(layers)
        ]
        self._worker_address: Final = f"worker:{worker}"
        self._opening: dict[Relay, asyncio.Task[None]] = {}

    @property
    def healthy(self) -> bool:
        """False while any of the layers is silent or fails, or while envelopes are not recovered."""
        return all(relay.healthy for relay in self.relays)

    @property
    def answers(self) -> bool:
        """False while any of the layers is silent."""
        return all(relay.answers for relay in self.relays)

    @property
    def gave_up(self) -> bool:
        """True while any of the layers takes nothing."""
        return any(relay.gave_up for relay in self.relays)

    @property
    def failures(self) -> int:
        """The sum of those of the relays."""
        return sum(relay.failures for relay in self.relays)

    def receive_with(self, deliver: Deliver, on_gap: OnGap) -> None:
        """Give publications of other processes to `deliver`; `on_gap` is called when some of them are
        missing."""
        for number, relay in enumerate(self.relays):
            relay.receive_with(partial(self._deliver, deliver), self._gap_of(number, on_gap))

    async def settled(self) -> None:
        """Wait until everything that was offered is sent, or has been given up."""
        for relay in self.relays:
            await relay.settled()

    async def flushed(self, failures: int) -> bool:
        """Wait until everything that was offered so far is sent; False when some of it was not."""
        for relay in self.relays:
            await relay.flushed(0)
        return self.failures == failures

    async def stop(self) -> None:
        """Stop all relays, at the same time."""
        opening, self._opening = [*self._opening.values()], {}
        await end_tasks(opening)
        await asyncio.gather(*(relay.stop() for relay in self.relays))

    def pick(self, worker_id: str) -> int:
        """The server to call a worker by: its own, or else the next one that works."""
        own = self._server_of(f"worker:{worker_id}")
        for step in range(len(self.relays)):
            number = (own + step) % len(self.relays)
            if self.relays[number].receives and self.relays[number].healthy:
                return number
        return own

    def greet(self, worker_id: str) -> None:
        """Have another process send a heartbeat by each server, if it is there."""
        for relay in self.relays:
            relay.greet(worker_id)

    # --- for the hub -------------------------------------------------------------------------------------

    async def want(self, addresses: Iterable[str]) -> None:
        """Subscribe to addresses and wait until their servers are seen to honour it.

        Raises LayerUnavailable. For this process's own address it is enough that one server does: others
        follow when they are back.
        """
        by_server: dict[int, list[str]] = {}
        for address in addresses:
            if address == self._worker_address:
                await self._open()
            else:
                by_server.setdefault(self._server_of(address), []).append(address)
        await asyncio.gather(*(self.relays[server].want(some) for server, some in by_server.items()))

    def unwant(self, address: str) -> None:
        """Unsubscribe from an address some time soon."""
        self.relays[self._server_of(address)].unwant(address)

    def offer(self, publication: Publication) -> bool:
        """Take a publication for the other processes; False when a backlog that it needs is full."""
        parts = self._parts(publication)
        if any(relay.full for relay, _ in parts):
            return False
        for relay, addresses in parts:
            relay.offer(publication, addresses)
        return True

    async def offer_later(self, publication: Publication) -> None:
        """Wait for room in each backlog that it needs, and count what is lost as its relay does."""
        parts = self._parts(publication)
        begun: set[Relay] = set()

        async def offer_part(relay: Relay, addresses: tuple[str, ...]) -> None:
            begun.add(relay)
            await relay.offer_later(publication, addresses)

        try:
            await asyncio.gather(*(offer_part(*part) for part in parts))
        except asyncio.CancelledError:
            # A task that is cancelled before its first step does nothing at all.
            for relay, addresses in parts:
                if relay not in begun:
                    relay.lose(publication, addresses)
            raise

    # --- inside ------------------------------------------------------------------------------------------

    def _server_of(self, address: str) -> int:
        return server_of(group_name(address), len(self.relays))

    def _parts(self, publication: Publication) -> list[tuple[Relay, tuple[str, ...]]]:
        """The relays that a publication goes by, each with the addresses of its server."""
        if publication.server is not None:
            return [(self.relays[publication.server], publication.addresses)]
        if len(publication.addresses) == 1:
            return [(self.relays[self._server_of(publication.addresses[0])], publication.addresses)]
        by_server: dict[int, list[str]] = {}
        for address in publication.addresses:
            by_server.setdefault(self._server_of(address), []).append(address)
        return [(self.relays[server], tuple(addresses)) for server, addresses in by_server.items()]

    def _deliver(self, deliver: Deliver, publication: Publication) -> int:
        addresses = publication.addresses
        if len(addresses) > 1:
            # Its other addresses come by their own servers: now they would overtake what was published to
            # them before.
            mine = tuple(one for one in addresses if self._server_of(one) == publication.server)
            if len(mine) < len(addresses):
                return deliver(replace(publication, addresses=mine, is_part=True))
        return deliver(publication)

    def _gap_of(self, server: int, on_gap: OnGap) -> Callable[[float], int]:
        # The connections' own addresses have the server of this process: a gap there concerns all of them.
        if server == self._server_of(self._worker_address):
            return on_gap
        return lambda until: on_gap(until, lambda address: self._server_of(address) == server)

    async def _open(self) -> None:
        """Open all servers, at the same time, and leave those that are out to tasks of their own.

        Raises LayerUnavailable when none can be opened.
        """
        if all(relay.receives for relay in self.relays):
            return
        closed = [relay for relay in self.relays if not relay.receives and relay not in self._opening]
        wanted = (relay.want([self._worker_address]) for relay in closed)
        results = await asyncio.gather(*wanted, return_exceptions=True)
        if not any(relay.receives for relay in self.relays):
            raise next(
                (error for error in results if isinstance(error, LayerUnavailable)), LayerUnavailable()
            )
        for relay, error in zip(closed, results, strict=True):
            if isinstance(error, BaseException) and relay not in self._opening:
                self._opening[relay] = asyncio.ensure_future(self._keep_opening(relay))

    async def _keep_opening(self, relay: Relay) -> None:
        logger.warning("a Redis server is out: this process goes on without it, and opens it when it is back")
        while True:
            await asyncio.sleep(REOPEN_SECONDS)
            try:
                await relay.want([self._worker_address])
            except LayerUnavailable:
                continue
            logger.info("a Redis server is back, and open")
            return


AnyRelay = Relay | Spread
"""A process's end of all channel layers."""


def relay_of(layer: Any, worker: str, clock: Callable[[], float] = monotonic) -> AnyRelay:
    """A relay for a layer, or for each of the `servers` that it has."""
    servers = getattr(layer, "servers", [layer])
    return Relay(layer, worker, clock) if len(servers) == 1 else Spread(servers, worker, clock)
