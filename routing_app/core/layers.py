"""The channel layers that the hub can count on: one for a single process, one on Redis.

Stock `InMemoryChannelLayer` walks every group on every send, forgets group members after a day, and drops
silently beyond 100 waiting messages. The hub keeps one member per address, for as long as it likes, and
counts what it loses itself; so here nothing expires and the capacity is out of reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisSingleShardConnection
from redis.asyncio.client import PubSub


class ProcessChannelLayer(InMemoryChannelLayer):
    """`InMemoryChannelLayer` without expiry, without the walk, and with room for every envelope."""

    def __init__(self, capacity: int = 1_000_000, **options: Any) -> None:
        super().__init__(capacity=capacity, **options)

    def _clean_expired(self) -> None:
        """Nothing expires: the hub removes what it added."""

    def alone(self, group: str, channel: str) -> bool:
        """True when nobody but `channel` can hear `group`, so that sending to it would be for nothing."""
        members = self.groups.get(group)
        return not members or (len(members) == 1 and channel in members)


class RedisChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """The pub/sub layer of channels-redis, which tells when its subscribing connection was made anew.

    Upstream accepts `on_reconnect` and never calls it (channels_redis#406); what was published meanwhile is
    lost to this process, so the relay has to know.
    """

    def when_reconnected(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each reconnect, with the subscriptions sent again. For the running loop."""
        for shard in self._get_layer()._shards:
            shard.reconnected = callback

    async def break_connection(self) -> None:
        """Drop the subscribing connection, which is then made anew: it was silent for too long."""
        for shard in self._get_layer()._shards:
            await shard.break_connection()

    def _get_layer(self) -> Any:
        fresh = asyncio.get_running_loop() not in self._layers
        layer = super()._get_layer()
        if fresh:
            layer._shards = [_Shard(shard.host, layer) for shard in layer._shards]
        return layer


class _PubSub(PubSub):
    """Calls `connected` whenever its connection is made again and the subscriptions are sent anew."""

    connected: Callable[[], None]

    async def on_connect(self, connection: Any) -> None:
        await super().on_connect(connection)
        self.connected()


class _Shard(RedisSingleShardConnection):  # type: ignore[misc]
    """One Redis server, watched."""

    def __init__(self, host: Any, layer: Any) -> None:
        super().__init__(host, layer)
        self._redis: Any
        self._pubsub: Any
        self.reconnected: Callable[[], None] = lambda: None

    def _ensure_redis(self) -> None:
        if self._redis is None:
            super()._ensure_redis()
            self._watch()

    def _watch(self) -> None:
        self._pubsub = _PubSub(self._redis.connection_pool)
        self._pubsub.connected = lambda: self.reconnected()

    async def break_connection(self) -> None:
        """Close the subscribing connection; the receiving task reconnects."""
        connection = self._pubsub and self._pubsub.connection
        if connection:
            await connection.disconnect()
