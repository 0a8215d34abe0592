"""The channel layer on Redis: pub/sub, and it tells when its connection was broken.

The library's own `on_disconnect` and `on_reconnect` are never called (channels_redis#406), so a connection
that is lost and made again would lose messages without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer


class RedisLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # the library has no types
    """`RedisPubSubChannelLayer` with `watch` and `reconnect`."""

    def watch(self, reconnected: Callable[[Any], None]) -> None:
        """Have a bound method called whenever a connection that subscriptions live on was made again.

        To be called after the first subscription; messages that are published in between reach nobody here.
        """
        # The layer opens its connections with the first subscription, and redis-py calls the callback after
        # each connect of one of them. It holds a bound method weakly: a lambda would be gone at once.
        for shard in self._get_layer()._shards:
            shard._pubsub.connection.register_connect_callback(reconnected)

    async def reconnect(self) -> None:
        """Drop the connections that subscriptions live on; the layer makes them again at once."""
        for shard in self._get_layer()._shards:
            await shard._pubsub.connection.disconnect()
