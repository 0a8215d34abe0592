"""Through Redis: receivers on one worker, publishers on another; both, and Redis, on the server's core."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.contestants import SOCKET_IO, Contestant, through_redis
from bench.measures import FAN_OUT_COLUMNS, RECEIVERS, fan_out
from bench.section import Mark, Results, Row, Section, at_least, ratio

SERVE: Final = Contestant("two workers, `manage.py serve`", through_redis("serve"))
DAPHNE: Final = Contestant("two workers, plain Daphne", through_redis("daphne"))


def _marks(results: Results) -> list[Mark]:
    times = ratio(results, "many", SERVE.label, SOCKET_IO.label)
    return at_least("serve, 64 in flight: at least 5 times Socket.IO (which has one process)", times, 5)


SECTION = Section(
    name="redis",
    title=f"Deliveries per second through Redis, {RECEIVERS} receivers",
    columns=FAN_OUT_COLUMNS,
    rows=(
        Row(DAPHNE.label, partial(fan_out, DAPHNE), quick=False),
        Row(SERVE.label, partial(fan_out, SERVE)),
        Row(SOCKET_IO.label, partial(fan_out, SOCKET_IO)),
    ),
    note="The two workers and Redis share ONE core; the processor time is theirs together.",
    marks=_marks,
    order=30,
)
