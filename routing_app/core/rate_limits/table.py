"""All limits, sorted by protocol and command for those that ask."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from routing_app.core.models.rate_limits import ANY as ANYTHING
from routing_app.core.models.rate_limits import API, Command, Per, RateLimit, Then
from routing_app.core.protocol import registered
from routing_app.core.rate_limits.limit import Limit

logger = logging.getLogger(__name__)


class LimitRow(NamedTuple):
    """A row of the table."""

    id: int
    protocol: str
    command: str
    per: str
    rate: float
    burst: int
    then: str


class LimitSet:
    """The limits of a command, at least one; those per connection are always counted in this process."""

    __slots__ = ("every", "own", "shared")

    def __init__(self, limits: Iterable[Limit]) -> None:
        self.every = tuple(limits)
        self.own = tuple(limit for limit in self.every if not limit.is_shared)
        self.shared = tuple(limit for limit in self.every if limit.is_shared)


class ProtocolLimits:
    """The limits of one protocol; each is None where nothing is limited.

    The object stays when rows change, so that a connection may keep it. `frame` are limits of everything
    that is read from a socket; those of a command come on top where the frame is one.
    """

    __slots__ = ("api", "arrive", "connect", "create", "frame", "login", "publish", "request", "subscribe")

    def __init__(self) -> None:
        self.use(())

    def use(self, limits: Iterable[tuple[str, Limit]]) -> None:
        """Have these limits, by their commands, from now on."""
        known = tuple(limits)
        connect = _alone(known, Command.CONNECT)
        self.arrive = _set(limit for limit in connect if limit.per is Per.NETWORK)
        """Of `connect`, those that are known before the credentials are looked at."""
        self.connect = _set(limit for limit in connect if limit.per is not Per.NETWORK)
        self.subscribe = _of(known, Command.SUBSCRIBE)
        self.publish = _of(known, Command.PUBLISH)
        self.request = _of(known, Command.REQUEST)
        self.frame = _of(known, Command.ANY)
        self.login = _set(_alone(known, Command.LOGIN))
        self.create = _set(_alone(known, Command.CREATE))
        self.api = _set(_alone(known, Command.API))


def _of(known: tuple[tuple[str, Limit], ...], command: str) -> LimitSet | None:
    return _set(limit for one, limit in known if one == command)


def _alone(known: tuple[tuple[str, Limit], ...], command: str) -> tuple[Limit, ...]:
    wanted = (command, Command.ANY)
    return tuple(limit for one, limit in known if one in wanted and limit.is_shared)


def _set(limits: Iterable[Limit]) -> LimitSet | None:
    found = tuple(limits)
    return LimitSet(found) if found else None


class LimitTable:
    """All limits of this process."""

    def __init__(self) -> None:
        self._rows: tuple[LimitRow, ...] = ()
        self._limits: dict[tuple[int, Per, float, int, Then], Limit] = {}
        self._protocols: dict[str, ProtocolLimits] = {}
        usual = [(one.name, *limit) for one in registered() for limit in one.usual_limits]
        self._usual = self._known(
            LimitRow(-number, protocol, command, per, rate, burst, Then.REFUSE)
            for number, (protocol, command, per, rate, burst) in enumerate(usual, 1)
        )
        self._sort(self._usual)

    def of(self, protocol: str) -> ProtocolLimits:
        """The limits of a protocol, now and later; `api` are those of the REST API."""
        if (found := self._protocols.get(protocol)) is None:
            found = self._protocols[protocol] = ProtocolLimits()
            self._fill(protocol, found)
        return found

    def use(self, rows: Iterable[LimitRow]) -> None:
        """Have other rows from now on; counts of those that stay the same go on."""
        rows = tuple(rows)
        if rows == self._rows:
            return
        known = self._known(rows)
        named = {(row.protocol, row.command) for row, _ in known}
        usual = (
            (row, limit)
            for row, limit in self._usual
            if named.isdisjoint({(row.protocol, row.command), (ANYTHING, row.command)})
        )
        self._sort([*known, *usual])
        self._rows = rows

    def _known(self, rows: Iterable[LimitRow]) -> list[tuple[LimitRow, Limit]]:
        """Rows and their limits, without those that mean nothing here: a newer version, or another program,
        may have written them, and all others have to hold.
        """
        known = []
        for row in rows:
            try:
                limit = Limit(row.id, Per(row.per), row.rate, row.burst, Then(row.then))
            except (ValueError, TypeError, ArithmeticError) as error:
                logger.warning("rate limit %d is left out: %s", row.id, error)
                continue
            known.append((row, self._limits.get(limit.settings, limit)))
        return known

    def _sort(self, known: list[tuple[LimitRow, Limit]]) -> None:
        self._by_row = known
        self._limits = {limit.settings: limit for _, limit in known}
        for protocol, limits in self._protocols.items():
            self._fill(protocol, limits)

    def _fill(self, protocol: str, limits: ProtocolLimits) -> None:
        wanted = (ANYTHING, protocol)
        limits.use((row.command, limit) for row, limit in self._by_row if row.protocol in wanted)


def read_rows() -> list[LimitRow]:
    """All rows. Uses the ORM."""
    return [
        LimitRow(*row) for row in RateLimit.objects.order_by("pk").values_list("pk", *LimitRow._fields[1:])
    ]


__all__ = ["API", "LimitRow", "LimitSet", "LimitTable", "ProtocolLimits", "read_rows"]
