"""Heartbeats, greetings and questions that wait to be sent: one of a kind to each address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from routing_app.core import metrics
from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.cluster.envelope import Envelope

SHARE: Final = 15
"""A send costs Redis about as much as to pass a message on to so many: from one heartbeat for so many workers
on, one to all of them is cheaper. They are many when many workers start at once."""

Make = Callable[[], Envelope | None]
"""Makes an envelope when it leaves, so that it tells of all before; None when it is not wanted any more."""


class Notices:
    """Those of one process. `known` is how many others there are."""

    def __init__(self, send: Callable[[str, Envelope], Awaitable[None]], known: Callable[[], int]) -> None:
        self._send = send
        self._known = known
        self._waiting: dict[tuple[str, str], Make] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, address: str, kind: str, make: Make) -> None:
        """Have an envelope of a kind sent to an address, unless one waits."""
        self._waiting.setdefault((address, kind), make)

    def clear(self) -> None:
        """Send nothing of what waits."""
        self._waiting.clear()

    async def send(self, seconds: float) -> None:
        """Send all that waits. Each may take so long; one that fails is made again by the next tick."""
        waiting, self._waiting = self._joined(), {}
        for (address, _), make in waiting.items():
            if (envelope := make()) is None:
                continue
            try:
                async with asyncio.timeout(seconds):
                    await self._send(address, envelope)
            except Exception:
                metrics.LAYER_ERRORS.inc()

    def _joined(self) -> dict[tuple[str, str], Make]:
        beats = [key for key in self._waiting if key[1] == "heartbeat"]
        if len(beats) <= max(1, self._known() // SHARE):
            return self._waiting
        others = {key: make for key, make in self._waiting.items() if key[1] != "heartbeat"}
        return {(EVERYBODY, "heartbeat"): self._waiting[beats[0]], **others}
