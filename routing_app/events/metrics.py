"""Metrics of the events protocol, beside the core's."""

from __future__ import annotations

from typing import Final

from routing_app.core.described import any_thread_counter, durations

WALKERS: Final = any_thread_counter(
    "switchboard_walkers_total", "Runs of walkers, by how they ended.", ["outcome"]
)
LOGINS: Final = any_thread_counter(
    "switchboard_logins_total", "Logins of the events protocol, by outcome.", ["outcome"]
)
WALKER: Final = durations(
    "switchboard_walker_seconds", "Runs of walkers, by the name of the walker.", ["walker"]
)
