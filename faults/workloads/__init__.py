"""Clients of a run: what each does, and notes."""

from __future__ import annotations

from typing import Final

from faults.workloads.listings import Listings
from faults.workloads.lobby import Lobby
from faults.workloads.messages import Messages
from faults.workloads.registrations import Registrations
from faults.workloads.requests import Requests
from faults.workloads.revocations import Revocations
from faults.workloads.sessions import Sessions
from faults.workloads.streams import Streams
from faults.workloads.webhooks import Webhooks
from faults.world import Workload

WORKLOADS: Final[tuple[type[Workload], ...]] = (
    Messages,
    Streams,
    Sessions,
    Requests,
    Lobby,
    Listings,
    Registrations,
    Revocations,
    Webhooks,
)

__all__ = ["WORKLOADS", "Workload"]
