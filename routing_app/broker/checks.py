"""System checks of the packages underneath; each names the fault and its remedy."""

from __future__ import annotations

from typing import Any, Final

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

LAYERS: Final = (
    "routing_app.core.cluster.layers.ProcessChannelLayer",
    "routing_app.core.cluster.redis_layer.RedisLayer",
)


@register()
def channel_layer_is_ours(**options: Any) -> list[CheckMessage]:
    """Other layers drop messages over their capacity without a word; one of memory has no other worker."""
    backend = settings.CHANNEL_LAYERS.get("default", {}).get("BACKEND", "")
    if backend == LAYERS[bool(settings.REDIS_URL)]:
        return []
    return [
        Error(
            f"CHANNEL_LAYERS: expected {LAYERS[bool(settings.REDIS_URL)]} by REDIS_URL, but got {backend!r}.",
            hint="Set REDIS_URL, and no CHANNEL_LAYERS, before switchboard.settings() is called.",
            id="switchboard.E002",
        )
    ]


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
