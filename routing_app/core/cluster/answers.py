"""Answers to other processes that ask for envelopes again: what the log has of them, in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from routing_app.core import metrics
from routing_app.core.cluster.envelope import UNENCODABLE, Envelope, armour
from routing_app.core.cluster.replay import Entry, Log, Replay


class Answers:
    """Questions that wait, the last of each process. `make` makes an envelope of a kind with its content."""

    def __init__(
        self,
        send: Callable[[str, Envelope], Awaitable[None]],
        make: Callable[..., Envelope],
        clock: Callable[[], float],
    ) -> None:
        self._send = send
        self._make = make
        self._clock = clock
        self._asked: dict[str, tuple[int, float, int]] = {}

    def ask(self, sender: str, after: int, seconds: float, round: int) -> None:
        """A process asks for the envelopes numbered above `after`, of the last `seconds`."""
        self._asked[sender] = after, seconds, round

    async def send(self, log: Log, seconds: float) -> None:
        """Answer all that wait; each part may take so long."""
        asked, self._asked = self._asked, {}
        for sender, (after, back, round) in asked.items():
            try:
                await self._send_replay(f"worker:{sender}", log.after(after, back), round, seconds)
            except Exception:
                metrics.LAYER_ERRORS.inc()  # it will ask again

    async def _send_replay(self, address: str, replay: Replay, round: int, seconds: float) -> None:
        position = {"round": round, "number": replay.number, "lost_at": replay.lost_at}
        for part in replay.parts:
            content = {**position, "last": part is replay.parts[-1]}
            try:
                await self._send_part(address, part, content, seconds)
            except UNENCODABLE:
                for _, items in part:
                    # One that was sent by itself was armoured then, if it had to be.
                    if any(not isinstance(item, str) for item in items):
                        armour(items)
                await self._send_part(address, part, content, seconds)

    async def _send_part(
        self, address: str, part: list[Entry], content: dict[str, Any], seconds: float
    ) -> None:
        async with asyncio.timeout(seconds):
            entries = [list(entry) for entry in part]
            await self._send(address, self._make("replay", entries=entries, at=self._clock(), **content))
