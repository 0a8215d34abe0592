"""What disturbs a cluster: at random by the dice, also two at a time."""

from __future__ import annotations

from typing import Final

from faults.nemeses.clients import Flood, SlowReaders
from faults.nemeses.clock import StepClock
from faults.nemeses.disk import FillDisk
from faults.nemeses.links import Cut, Delay, HalfOpen, Hold, Trickle
from faults.nemeses.nemesis import Nemesis
from faults.nemeses.processes import (
    Drain,
    DrainWorker,
    KillServer,
    KillWorker,
    NoDescriptors,
    StopWorker,
)
from faults.nemeses.services import (
    CrashPostgres,
    FailOver,
    KillBackends,
    KillCalls,
    KillPubSub,
    RestartPostgres,
    RestartRedis,
    RestartRedisEmpty,
)

NEMESES: Final[tuple[type[Nemesis], ...]] = (
    Cut,
    Hold,
    HalfOpen,
    Delay,
    Trickle,
    KillWorker,
    KillServer,
    StopWorker,
    Drain,
    DrainWorker,
    NoDescriptors,
    KillBackends,
    RestartPostgres,
    CrashPostgres,
    KillPubSub,
    KillCalls,
    RestartRedis,
    RestartRedisEmpty,
    FailOver,
    StepClock,
    FillDisk,
    Flood,
    SlowReaders,
)

__all__ = ["NEMESES", "Nemesis"]
