"""Limits of handshakes: asked before there is a connection."""

from __future__ import annotations

from math import ceil

from routing_app.core.access.admission import Refused
from routing_app.core.codes import LIMITED, Refusal
from routing_app.core.models.rate_limits import Then
from routing_app.core.rate_limits.limit import Excess, Passing
from routing_app.core.rate_limits.limits import RateLimits
from routing_app.core.rate_limits.table import LimitSet


class OverLimit(Refused):
    """The handshake is beyond a limit: 429, or accepted and closed with 4101 where `accepts`."""

    def __init__(self, excess: Excess) -> None:
        super().__init__(LIMITED, Refusal.RATE)
        self.accepts = excess.then is Then.CLOSE
        self.seconds = retry_after(excess)


async def check(rate_limits: RateLimits, who: Passing, *several: LimitSet | None) -> None:
    """Count a handshake, and let it wait where a limit says so. Raises OverLimit."""
    for limits in several:
        if limits is not None and (excess := await rate_limits.excess(limits, who)) is not None:
            raise OverLimit(excess)


def retry_after(excess: Excess) -> int:
    """Whole seconds after which a client may try again."""
    return max(1, ceil(excess.seconds))


def seconds_of(error: Exception) -> int:
    """The seconds after which a client that was refused may come back; 0 where no limit has refused it."""
    return error.seconds if isinstance(error, OverLimit) else 0
