"""The rate limits of one worker: the rows as it knows them, and where they are counted.

Limits per connection are counted in this process, the others by Redis where REDIS_URL is set: each count has
one of its servers. A count whose server is out is kept in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.cluster import redis_urls
from routing_app.core.cluster.spread import server_of
from routing_app.core.codes import LIMITED, Refusal
from routing_app.core.delivery.connection import Connection, ConnectionState
from routing_app.core.delivery.hub import Hub
from routing_app.core.eager import Spawn
from routing_app.core.fresh_rows import FreshRows
from routing_app.core.models.rate_limits import Then
from routing_app.core.rate_limits.limit import Counted, Excess, Limit, take
from routing_app.core.rate_limits.redis import RedisCounts, Unreachable
from routing_app.core.rate_limits.table import LimitRow, LimitSet, LimitTable, ProtocolLimits, read_rows

LIMITS_CHANGED: Final = "$limits_changed"
"""Event that has every process read the limits."""
LOOK_SECONDS: Final = 1.0
"""Between two looks whether a client that waits is still there."""

Outcome = Coroutine[Any, Any, Excess | None] | Excess | None
"""None: go on. A coroutine: Redis is asked."""


class RateLimits(FreshRows[list[LimitRow]]):
    """All limits of one process, and their counts."""

    rows_name = "rate limits"

    def __init__(self, hub: Hub, redis: Sequence[RedisCounts], spawn: Spawn) -> None:
        """`redis`: the counts on each server; none without Redis."""
        super().__init__(spawn)
        self._redis = redis
        self._table = LimitTable()
        self.of: Callable[[str], ProtocolLimits] = self._table.of
        """The limits of a protocol, now and later; `api` for those of the REST API."""
        hub.on(LIMITS_CHANGED, self.changed)

    # --- rows -----------------------------------------------------------------------------------------------

    def load(self) -> list[LimitRow]:
        """All of them. Uses the ORM."""
        return read_rows()

    def use(self, rows: list[LimitRow]) -> None:
        """Count by these from now on."""
        self._table.use(rows)

    async def stop(self) -> None:
        """Ask Redis no more."""
        await asyncio.gather(*(one.stop() for one in self._redis))

    # --- counting -------------------------------------------------------------------------------------------

    def count(self, limits: LimitSet, who: Counted, cost: int = 1, may_wait: bool = True) -> Outcome:
        """Count something that a client does, such as `cost` messages.

        None where it may go on at once: so most messages cost no coroutine. Without `may_wait` what would
        have to wait is refused, and not counted.
        """
        if not (self._redis and limits.shared):
            return take(limits.every, who, cost, may_wait, monotonic())
        return self._ask(limits, who, cost, may_wait)

    async def excess(
        self, limits: LimitSet, who: Counted, cost: int = 1, may_wait: bool = True
    ) -> Excess | None:
        """The same, after the wait if it has to: the excess that is refused, or None."""
        return await settled(self.count(limits, who, cost, may_wait))

    async def over(self, limits: LimitSet, connection: Connection, cost: int = 1) -> Excess | None:
        """The same for what an open connection asks for; an excess is counted as refused, and closes it where
        the limit says so. A connection that has ended in the wait has no more to ask for either.
        """
        outcome = self.count(limits, connection, cost)
        if outcome is None:
            return None
        excess = await settled(outcome, connection)
        if excess is not None:
            beyond(connection, excess)
        elif connection.state is not ConnectionState.OPEN:
            return Excess(Then.CLOSE, 0.0)
        return excess

    async def _ask(self, limits: LimitSet, who: Counted, cost: int, may_wait: bool) -> Excess | None:
        # First those of this process: what they refuse need not be asked. What Redis refuses they have
        # counted, as each server has that another one refuses.
        mine = take(limits.own, who, cost, may_wait, monotonic()) if limits.own else None
        if mine is not None and mine.then is not Then.WAIT:
            return mine
        by_server: dict[int, list[tuple[Limit, str]]] = {}
        for limit in limits.shared:
            if name := limit.name(who):
                by_server.setdefault(self._server(limit, name), []).append((limit, name))
        found = [mine]
        if len(by_server) == 1:
            ((server, takes),) = by_server.items()
            found.append(await self._ask_server(server, takes, who, cost, may_wait))
        elif by_server:
            asked = (self._ask_server(one, takes, who, cost, may_wait) for one, takes in by_server.items())
            found += await asyncio.gather(*asked)
        return max(filter(None, found), key=_gravity, default=None)

    async def _ask_server(
        self, server: int, takes: list[tuple[Limit, str]], who: Counted, cost: int, may_wait: bool
    ) -> Excess | None:
        try:
            return await self._redis[server].take(takes, cost, may_wait)
        except Unreachable:
            return take(tuple(limit for limit, _ in takes), who, cost, may_wait, monotonic())

    def _server(self, limit: Limit, name: str) -> int:
        if len(self._redis) == 1:
            return 0
        return server_of(self._redis[0].key(limit, name), len(self._redis))


def _gravity(excess: Excess) -> tuple[int, float]:
    return (Then.WAIT, Then.REFUSE, Then.CLOSE).index(excess.then), excess.seconds


async def settled(outcome: Outcome, connection: Connection | None = None) -> Excess | None:
    """The excess that is refused, or None: after the answer, and after the wait if it has to.

    A client that leaves while it waits is refused, so that nothing is kept for it for long.
    """
    if outcome is not None and not isinstance(outcome, Excess):
        outcome = await outcome
    if outcome is None or outcome.then is not Then.WAIT:
        return outcome
    left = outcome.seconds
    while left > LOOK_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        left -= LOOK_SECONDS
        if connection is not None and connection.is_lost:
            return Excess(Then.REFUSE, left)
    await asyncio.sleep(left)
    return None


def beyond(connection: Connection, excess: Excess) -> None:
    """Count what a client did beyond a limit, and close its connection where the limit says so."""
    metrics.REFUSED.labels(connection.protocol, Refusal.RATE).inc()
    if excess.then is Then.CLOSE:
        connection.close(LIMITED)


def counts_of(redis_url: str) -> list[RedisCounts]:
    """The counts on each server of `REDIS_URL`."""
    return [RedisCounts(url) for url in redis_urls.split(redis_url)] if redis_url else []
