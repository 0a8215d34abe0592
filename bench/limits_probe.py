"""The price of rate limits without sockets: run as a process, it prints µs of one check as a JSON object.

The kinds of limits are measured in turn, several rounds of them, so that a disturbance meets all of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from statistics import median
from typing import Any, Final

import django

django.setup()

# Models are imported with it, so Django comes first.
from routing_app.core.access.grants import Grant, GrantKind  # noqa: E402
from routing_app.core.delivery.connection import Peer  # noqa: E402
from routing_app.core.models.rate_limits import Per, Then  # noqa: E402
from routing_app.core.rate_limits.limit import Limit, Passing  # noqa: E402
from routing_app.core.rate_limits.table import LimitSet  # noqa: E402
from routing_app.core.worker import current_worker  # noqa: E402

ROUNDS: Final = 15
CHECKS: Final = 20_000
IN_A_TURN: Final = 100
"""Checks of one turn of the event loop, where Redis is asked."""
KINDS: Final[dict[str, tuple[Per, ...]]] = {
    "none": (),
    "connection": (Per.CONNECTION,),
    "network": (Per.NETWORK,),
    "identity": (Per.IDENTITY,),
    "two": (Per.CONNECTION, Per.IDENTITY),
}


def limits_of(pers: tuple[Per, ...]) -> LimitSet | None:
    """Limits that nothing is beyond."""
    limits = [Limit(number, per, 1e6, 10**9, Then.REFUSE) for number, per in enumerate(pers, 1)]
    return LimitSet(limits) if limits else None


def client() -> Passing:
    """A client with an access token."""
    return Passing(Peer("192.0.2.1", 4000), Grant(GrantKind.TOKEN, "ann", "issuer", "ann"))


async def check(limits: LimitSet | None) -> float:
    """µs of one check, as the socket of every protocol asks for each frame."""
    count, who = current_worker().rate_limits.count, client()
    refused = 0
    start = time.process_time()
    for _ in range(CHECKS):
        if limits is not None and count(limits, who) is not None:
            refused += 1
    used = time.process_time() - start
    assert not refused
    return used * 1e6 / CHECKS


async def ask(limits: LimitSet) -> float:
    """The same where Redis counts."""
    count, who = current_worker().rate_limits.count, client()
    asked: list[Awaitable[Any]] = []
    start = time.process_time()
    for _ in range(CHECKS // IN_A_TURN // 10):
        asked = [count(limits, who) for _ in range(IN_A_TURN)]  # type: ignore[misc]  # coroutines, here
        assert not any(await asyncio.gather(*asked))
    return (time.process_time() - start) * 1e6 / (CHECKS // 10)


async def main(redis: bool) -> dict[str, float]:
    """Medians by kind."""
    kinds = {"identity": KINDS["identity"]} if redis else KINDS
    sets = {name: limits_of(pers) for name, pers in kinds.items()}
    found: dict[str, list[float]] = {name: [] for name in sets}
    for _ in range(ROUNDS):
        for name, limits in sets.items():
            found[name].append(await (ask(limits) if redis and limits is not None else check(limits)))
    await current_worker().rate_limits.stop()
    return {name: median(figures) for name, figures in found.items()}


print(json.dumps(asyncio.run(main(sys.argv[1] == "redis"))))
