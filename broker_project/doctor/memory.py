"""Memory: what idle connections take of it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from broker_project.doctor.finding import Bound, Finding, ok, warning
from broker_project.doctor.plan import Plan

NAME: Final = "memory"
CONNECTION_BYTES: Final = 12_000
"""Of a worker for an idle connection: docs/performance.md, "Idle connections", measured with `serve`, without
TLS. A backlog may add MAX_OUTBOX_BYTES to each."""
ROOT: Final = Path("/")


class Memory(NamedTuple):
    """Bytes that are available now to this process and its like, and those that a worker has without
    clients."""

    available: int
    worker: int


def read(root: Path = ROOT) -> Memory | None:
    """Of the machine or, where that is less, of the control group; None where the system does not tell."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    of_machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    # A command that has loaded all apps is about as large as a worker.
    worker = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Memory(min([*of_machine, *_of_groups(root)]), worker) if of_machine else None


def judge(memory: Memory | None, plan: Plan) -> Finding:
    """Is there room for MAX_CONNECTIONS idle connections in each worker?"""
    if memory is None:
        return warning(NAME, "this system does not say how much is available", "look at it yourself")
    needed = plan.connections * CONNECTION_BYTES + plan.workers * memory.worker
    shown = f"{_mb(memory.available)} are available"
    wanted = f"{plan.connections:,} idle connections of {CONNECTION_BYTES // 1000} kB need {_mb(needed)}"
    if memory.available >= needed:
        return ok(NAME, f"{shown}, and {wanted} (docs/performance.md)")
    fits = max(1, bound(memory, plan).limit // plan.workers)
    return warning(
        NAME, f"{shown}, but {wanted} (docs/performance.md)", f"set MAX_CONNECTIONS={fits}, or add memory"
    )


def bound(memory: Memory, plan: Plan) -> Bound:
    """Idle connections of all workers."""
    left = memory.available - plan.workers * memory.worker
    return Bound(NAME, max(0, left // CONNECTION_BYTES))


def _mb(size: int) -> str:
    return f"{size // 10**6:,} MB"


def _of_groups(root: Path) -> Iterator[int]:
    """What its control groups leave this process: version 2, as a container sees its own, and version 1."""
    for limit, used in (
        ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
        (f"sys/fs/cgroup/{_own_group(root)}/memory.max", f"sys/fs/cgroup/{_own_group(root)}/memory.current"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = ((root / name).read_text(encoding="ascii").strip() for name in (limit, used))
        except OSError:
            continue
        if most.isdecimal() and now.isdecimal():  # `max` is no limit
            yield max(0, int(most) - int(now))


def _own_group(root: Path) -> str:
    try:
        text = (root / "proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((line[3:].strip("/") for line in text.splitlines() if line.startswith("0::")), "")
