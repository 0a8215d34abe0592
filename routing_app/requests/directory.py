"""The connections of this line in one process, by id."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from routing_app.core.worker import Worker
from routing_app.requests.connection import Connection

_directories: WeakKeyDictionary[Worker, dict[str, Connection]] = WeakKeyDictionary()


def connections_of(worker: Worker) -> dict[str, Connection]:
    """The line's connections of a worker; the consumer keeps them up to date."""
    return _directories.setdefault(worker, {})
