"""Bytes of memory of a kept message of 100 bytes: run as a process, it prints one JSON object."""

from __future__ import annotations

import json
import tracemalloc
from typing import Final

import django

django.setup()

from routing_app.core.delivery.publication import Publication  # noqa: E402
from routing_app.core.streams import record  # noqa: E402
from routing_app.core.streams.memory import MemoryStore  # noqa: E402
from routing_app.core.streams.store import Append, Bounds  # noqa: E402

MESSAGES: Final = 10_000
SIZE: Final = 100
STREAM: Final = {"token:load": Bounds(MESSAGES, 3600)}


def append(store: MemoryStore, number: int) -> None:
    """Append one message, whose id is as long as the hub's."""
    publication = Publication(tuple(STREAM), f"{number:0{SIZE}}", id=f"{number:016x}")
    store.append(Append(record.encode(publication, STREAM), STREAM), lambda outcome: None)


def probe() -> dict[str, float]:
    """Bytes each, of a full stream."""
    store = MemoryStore()
    append(store, 0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1, MESSAGES):
        append(store, number)
    return {"bytes": (tracemalloc.get_traced_memory()[0] - before) / (MESSAGES - 1)}


print(json.dumps(probe()))
