"""When a delivery is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

DELAYS: Final = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
"""Seconds after the first attempt, the second, ...; after one more it has failed."""
JITTER: Final = 0.2
"""At most this share of a delay comes on top of it, so that what failed together does not come together."""
MAX_RETRY_AFTER: Final = 3600
"""A receiver that asks for more is taken at its word for so long."""
GIVE_UP: Final = timedelta(days=5)
"""A webhook that has failed for so long is switched off."""


def delay_after(attempts: int, headers: Mapping[str, str]) -> timedelta | None:
    """The wait after so many attempts, the last of which was answered with these headers; None: no more.

    Retry-After makes it longer, never shorter: eight attempts in a row would soon be used up.
    """
    if attempts > len(DELAYS):
        return None
    delay = DELAYS[attempts - 1] * (1 + JITTER * random.random())  # noqa: S311 - not a secret
    return timedelta(seconds=max(delay, _asked_for(headers)))


def longest_wait(attempts: int) -> timedelta:
    """No delivery waits longer than that after so many attempts."""
    longest = max(DELAYS[min(attempts, len(DELAYS)) - 1], MAX_RETRY_AFTER)
    return timedelta(seconds=longest * (1 + JITTER))


def _asked_for(headers: Mapping[str, str]) -> float:
    """The seconds of Retry-After, a number or a time (RFC 9110, 10.2.3); 0 without one that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), MAX_RETRY_AFTER)
    at = _time(text)
    if at is None:
        return 0.0
    # By the clock of the receiver, where it tells it: ours may differ.
    now = _time(headers.get("date", "")) or time.time()
    return min(max(at - now, 0.0), MAX_RETRY_AFTER)


def _time(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
