"""The channel layer on Redis: pub/sub, and it tells when its connection was broken.

The library's own `on_disconnect` and `on_reconnect` are never called (channels_redis#406), so a connection
that is lost and made anew would lose messages without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer


class RedisLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # the library has no types
    """`RedisPubSubChannelLayer` with `watch` and `reconnect`."""

    def watch(self, reconnected: Callable[[Any], None]) -> None:
        """Have a bound method called whenever a connection that subscriptions live on was made anew.

        To be called after the first subscription; what is published in between reaches nobody here.
        """
        for shard in self._get_layer()._shards:
            shard._pubsub.connection.register_connect_callback(reconnected)

    async def reconnect(self) -> None:
        """Drop the connections that subscriptions live on; they are made anew at once."""
        for shard in self._get_layer()._shards:
            await shard._pubsub.connection.disconnect()
