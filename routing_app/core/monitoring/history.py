"""Values of the last 15 minutes, one a second: a ring for each name, and their form on the way to another
worker.
"""

from __future__ import annotations

import math
import zlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

SECONDS: Final = 900
"""Seconds that are kept."""
MAX_SET_BACK: Final = 5
"""A clock that is set back by more than so many seconds begins a new history."""
ABSENT: Final = math.nan
LEVEL: Final = 1
"""Of zlib: most values are like those before."""


class History:
    """Values by name and second. A name takes memory from its first value that is not 0 on."""

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        self._rings: dict[str, array[float]] = {}
        self._sampled = array("b", bytes(seconds))
        """1 where a second has values: a name without one is 0 there."""
        self.last = 0
        """The second that was put last; 0 before the first."""

    def put(self, second: int, values: Mapping[str, float]) -> None:
        """Keep the values of a second; one before the last is left out."""
        if second <= self.last:
            if self.last - second <= MAX_SET_BACK:
                return
            self._clear()
        for missed in range(max(self.last + 1, second - self._seconds + 1), second):
            self._sampled[missed % self._seconds] = 0
        place = second % self._seconds
        self._sampled[place], self.last = 1, second
        for name, ring in self._rings.items():
            ring[place] = values.get(name, 0.0)
        for name, value in values.items():
            if value and name not in self._rings:
                ring = self._rings[name] = array("d", bytes(8 * self._seconds))
                ring[place] = value

    def at(self, second: int) -> dict[str, float]:
        """The values of one second that are not 0; empty where it has none."""
        if not self.last - self._seconds < second <= self.last:
            return {}
        place = second % self._seconds
        if not self._sampled[place]:
            return {}
        return {name: ring[place] for name, ring in self._rings.items() if ring[place]}

    def packed(self) -> dict[str, Any]:
        """`{"until": second, "sampled": …, "series": {name: …}}` for `unpacked`: about 1 kB a name."""
        return {
            "until": self.last,
            "sampled": _pack(self._ordered(self._sampled)),
            "series": {name: _pack(self._ordered(ring)) for name, ring in self._rings.items()},
        }

    def _ordered(self, ring: array[Any]) -> array[Any]:
        """The oldest first."""
        start = (self.last + 1) % self._seconds
        return ring[start:] + ring[:start]

    def _clear(self) -> None:
        self._rings.clear()
        self._sampled = array("b", bytes(self._seconds))
        self.last = 0


class Unpacked:
    """The history of one worker as another one has received it."""

    def __init__(self, packed: Mapping[str, Any]) -> None:
        self.until = int(packed["until"])
        self.sampled = _unpack("b", packed["sampled"])
        self.series = {name: _unpack("d", ring) for name, ring in packed["series"].items()}

    def seconds(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The seconds from `first` to `last` that have values: how many after `first` each is, and its place
        in `series`."""
        begun = self.until - len(self.sampled) + 1
        for second in range(max(first, begun), min(last, self.until) + 1):
            if self.sampled[second - begun]:
                yield second - first, second - begun


def _pack(ring: array[Any]) -> str:
    return b64encode(zlib.compress(ring.tobytes(), LEVEL)).decode()


def _unpack(kind: str, text: str) -> array[Any]:
    ring: array[Any] = array(kind)
    ring.frombytes(zlib.decompress(b64decode(text)))
    return ring
