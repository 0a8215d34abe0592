"""The proof that subscriptions are in force: an envelope of our own that comes back.

The pub/sub layer sends SUBSCRIBE without waiting for the answer, and PUBLISH over another connection. Redis
carries out the commands of one connection in their order, so an echo through a subscription that is younger
than all others proves that they are in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from routing_app.core.address import group_name
from routing_app.core.cluster.envelope import Envelope

PAUSE_SECONDS: Final = 0.01
LONGEST_PAUSE_SECONDS: Final = 0.2
"""Between two envelopes of one proof."""


class Probe:
    """The proofs of one process. `unwant` ends the subscription to an address some time soon."""

    def __init__(
        self,
        layer: Any,
        worker: str,
        envelope: Callable[..., Envelope],
        unwant: Callable[[str], None],
    ) -> None:
        self._layer = layer
        self._worker = worker
        self._envelope = envelope
        self._unwant = unwant
        self._number = 0
        self._seen = asyncio.Event()

    async def run(self, channel: str) -> None:
        """Wait until an envelope comes back through a group that is used only for this."""
        self._number += 1
        self._seen.clear()
        address = f"probe:{self._worker}/{self._number}"
        pause = PAUSE_SECONDS
        try:
            await self._layer.group_add(group_name(address), channel)
            # The first envelope may overtake its own SUBSCRIBE, and is lost then: it is sent until one comes
            # back.
            while not self._seen.is_set():
                envelope = self._envelope("probe", number=self._number)
                await self._layer.group_send(group_name(address), envelope)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._seen.wait()
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            self._unwant(address)

    def came(self, number: int) -> None:
        """An envelope of a proof has come back."""
        if number == self._number:
            self._seen.set()
