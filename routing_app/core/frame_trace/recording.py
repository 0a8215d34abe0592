"""Frames that were noted and wait to be shown: bounded in their rate, their number and their bodies."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final

RATE: Final = 200
"""Most frames that are shown of any one second; the others are counted."""
WAITING: Final = 2 * RATE
"""Most frames that wait."""
BODY: Final = 4096
"""Characters, or bytes, of a body that are shown."""
BATCH_BYTES: Final = 128 * 1024
"""Bodies of one batch, by a byte a character; one more frame may exceed it."""

Note = dict[str, Any]
"""`at` (seconds since 1970), `direction` ("in" or "out"), `connection`, `protocol`, `size` (bytes of the
payload, before it is compressed); of a close `code`; with bodies `body`, `binary` where it is base64, and
`cut` where that is the beginning alone."""


class Rate:
    """True for at most RATE frames of any second."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._shown: deque[float] = deque(maxlen=RATE)

    def has_room(self) -> bool:
        """Count one frame, if it can be shown."""
        now = self._clock()
        if len(self._shown) == RATE and now - self._shown[0] < 1.0:
            return False
        self._shown.append(now)
        return True


class Recording:
    """The frames of one trace in one process: `take` hands them over, and says how many were left out."""

    def __init__(self, bodies: bool, clock: Callable[[], float] = monotonic) -> None:
        self._bodies = bodies
        self._rate = Rate(clock)
        self._frames: deque[Note] = deque()
        self._dropped = 0
        self.some = asyncio.Event()
        """Set while something waits."""

    def note(
        self, connection: str, protocol: str, direction: str, size: int, body: str | bytes, code: int = 0
    ) -> None:
        """One frame now; `code` is that of a close, whose body is its reason."""
        self.some.set()
        if len(self._frames) >= WAITING or not self._rate.has_room():
            self._dropped += 1
            return
        note: Note = {
            "at": time(),
            "direction": direction,
            "connection": connection,
            "protocol": protocol,
            "size": size,
        }
        if code:
            note["code"] = code
        if self._bodies:
            note |= _shown(body)
        self._frames.append(note)

    def take(self) -> tuple[list[Note], int]:
        """The oldest frames that wait, as many as one batch holds, and the number of those left out."""
        taken: list[Note] = []
        size = 0
        while self._frames and size < BATCH_BYTES:
            taken.append(self._frames.popleft())
            size += len(taken[-1].get("body", ""))
        dropped, self._dropped = self._dropped, 0
        if not self._frames:
            self.some.clear()
        return taken, dropped


def _shown(body: str | bytes) -> Note:
    shown: Note = {"body": body[:BODY]}
    if isinstance(body, bytes):
        shown = {"body": b64encode(body[:BODY]).decode(), "binary": True}
    if len(body) > BODY:
        shown["cut"] = True
    return shown
