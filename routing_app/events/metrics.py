"""Counters of the events protocol, beside the core's metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

WALKERS: Final = Counter("switchboard_walkers_total", "Runs of walkers, by how they ended.", ["outcome"])
LOGINS: Final = Counter("switchboard_logins_total", "Logins of the events protocol, by outcome.", ["outcome"])
