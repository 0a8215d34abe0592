"""The settings that the machine has to be large enough for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from django.conf import settings

SPARE_FILES = 100
"""Files of a worker beside its clients' sockets: logs, libraries, Redis, webhooks and hooks under way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Workers of this machine, and what each of them may hold."""

    workers: int
    max_connections: int
    database_threads: int
    port: int = 8000
    local_proxy: bool = False
    """A trusted proxy runs on this machine, and comes by TCP."""

    @property
    def connections(self) -> int:
        """Clients of all workers."""
        return self.workers * self.max_connections

    @property
    def other_files(self) -> int:
        """Files of a worker that are not sockets of clients."""
        return SPARE_FILES + self.database_threads


def of_settings() -> Plan:
    """The plan that the settings make."""
    return Plan(
        settings.WORKERS,
        settings.MAX_CONNECTIONS,
        settings.DATABASE_THREADS,
        settings.PORT,
        any(map(_is_here, settings.TRUSTED_PROXIES)),
    )


def _is_here(proxy: str) -> bool:
    try:
        return ip_network(proxy, strict=False).is_loopback
    except ValueError:
        return False
