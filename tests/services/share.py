"""A pytest plugin that gives each of a pass's processes a Redis of its own, before settings are read.

Tests cut and kill the connections of a Redis, and count what is subscribed there; two processes that shared
one would see each other. The databases need nothing: their names hold the process's id.
"""

from __future__ import annotations

import os
import re


def _take_share() -> None:
    """Choose from REDIS_URLS, blank-separated, by the number in pytest-xdist's name for this process."""
    number = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    urls = os.environ.get("REDIS_URLS", "").split()
    if number and urls:
        os.environ["REDIS_URL"] = urls[int(number[1]) % len(urls)]


_take_share()
