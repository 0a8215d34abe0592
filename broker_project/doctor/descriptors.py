"""Open files: every socket is one, and so is every connection to the database."""

from __future__ import annotations

import resource
from typing import NamedTuple

from broker_project.doctor.finding import Bound, Finding, ok, warning
from broker_project.doctor.plan import Plan

NAME = "descriptors"


class Limits(NamedTuple):
    """Open files that this process may have, and may raise that to. A command has the limits of its shell;
    those of a unit are read under `systemd-run -p LimitNOFILE=…`."""

    soft: int
    hard: int


def read() -> Limits:
    """The limits of this process."""
    return Limits(*resource.getrlimit(resource.RLIMIT_NOFILE))


def judge(limits: Limits, plan: Plan) -> Finding:
    """The hard limit counts: a worker raises its soft one to it."""
    has = f"a process may open {limits.hard:,} files (soft limit {limits.soft:,}, which a worker raises)"
    needed = plan.max_connections + plan.other_files
    if limits.hard >= needed:
        return ok(NAME, f"{has}; MAX_CONNECTIONS needs {needed:,}")
    return warning(
        NAME,
        f"{has}, but MAX_CONNECTIONS={plan.max_connections} needs {needed:,}",
        f"set LimitNOFILE={needed} in the unit (or `ulimit -Hn {needed}`), or lower MAX_CONNECTIONS",
    )


def bound(limits: Limits, plan: Plan) -> Bound:
    """Connections of all workers, which have these limits each."""
    return Bound(NAME, plan.workers * max(0, limits.hard - plan.other_files))
