"""The time at which a message shall be published, as publishers give it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

LONGEST: Final = timedelta(days=30)
"""A message is published so long after it was scheduled at most."""
LATE: Final = timedelta(seconds=60)
"""A time that is past so long at most is one of a clock that is behind, or of a slow caller: now."""
ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)", re.ASCII | re.IGNORECASE
)
"""The extended format of ISO 8601 with a zone, of which RFC 3339 is a part."""


class NotATime(ValueError):
    """A time or a delay that no message can have; `field` is the one of the two that it came in."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class When:
    """A time, or else a delay from the moment in which the message is written."""

    at: datetime | None
    delay: timedelta

    def time(self, now: datetime) -> datetime:
        """The time, by the clock of `now`. Raises NotATime for one that is too far from it."""
        if self.at is None:
            return now + self.delay
        if self.at < now - LATE:
            raise NotATime("at", f"expected a time to come, but got one that is over; it is {_shown(now)}")
        if self.at > now + LONGEST:
            raise NotATime("at", f"expected a time within {LONGEST.days} days; it is {_shown(now)}")
        return self.at


def when_of(data: Mapping[str, Any]) -> When | None:
    """The time that a message names by `at` or `delay`; None where it names none. Raises NotATime."""
    if "delay" not in data:
        return When(_at(data["at"]), timedelta()) if "at" in data else None
    if "at" in data:
        raise NotATime("delay", "either `at` or `delay`, not both")
    return When(None, _delay(data["delay"]))


def _at(given: Any) -> datetime:
    if not isinstance(given, str) or not ISO.fullmatch(given):
        soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        raise NotATime("at", f"expected ISO 8601 with a zone, such as {soon:%Y-%m-%dT%H:%M:%SZ} (in an hour)")
    try:
        return datetime.fromisoformat(given.upper())
    except ValueError as error:
        raise NotATime("at", f"expected a date and a time that exist: {error}") from None


def _delay(given: Any) -> timedelta:
    most = LONGEST.total_seconds()
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not 0 < given <= most:
        raise NotATime("delay", f"expected seconds, a number above 0 and up to {most:,.0f} (30 days)")
    return timedelta(seconds=given)


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
