"""System checks of the packages underneath; each names the fault and its remedy."""

from __future__ import annotations

from typing import Any

import redis
from django.core.checks import CheckMessage, Error, register


@register()
def redis_py_below_8(**options: Any) -> list[CheckMessage]:
    """redis-py 8 ends reads after 5 s, and with them idle layer connections (channels_redis#422)."""
    if int(redis.__version__.split(".")[0]) < 8:
        return []
    return [
        Error(
            f"redis-py {redis.__version__} breaks idle channel-layer connections every 5 seconds.",
            hint="Install redis>=7.4.1,<8, as requirements.txt pins it (channels_redis#422).",
            id="switchboard.E001",
        )
    ]
