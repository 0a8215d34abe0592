"""The channel layer on Redis: pub/sub, and it tells when its connection was broken.

The library's own `on_disconnect` and `on_reconnect` are never called (channels_redis#406), so a connection
that is lost and made again would lose messages without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

Moved = Callable[[], None]


class MasterConnection(SentinelManagedConnection):
    """A connection to the master that Sentinel names; `moved` is called before the first use of another."""

    def __init__(self, moved: Moved, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._moved = moved
        self._address: Any = None

    async def connect_to(self, address: Any) -> None:
        """Connect. The first attempt at another master fails.

        The command that it was made for may tell others which envelopes they have, and is from before the
        move: it has to be made again.
        """
        pool = self.connection_pool
        before = self._address or getattr(pool, "followed", None)
        self._address = pool.followed = address
        if before not in (None, address):
            self._moved()
            raise RedisConnectionError("Sentinel names another master")
        await super().connect_to(address)  # type: ignore[no-untyped-call]


class RedisLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # the library has no types
    """`RedisPubSubChannelLayer` with `watch` and `reconnect`, and a layer for each of its servers.

    `hosts` are URLs, or for Sentinel what `redis_urls.sentinel_of` makes of one.
    """

    def __init__(self, hosts: Sequence[Any] = ("redis://localhost:6379",), **options: Any) -> None:
        super().__init__(hosts=[self._watched(host) for host in hosts], **options)
        self._movers: WeakKeyDictionary[asyncio.AbstractEventLoop, Moved] = WeakKeyDictionary()
        one = len(hosts) == 1
        self.servers: Final = [self] if one else [RedisLayer([host], **options) for host in hosts]
        """A layer for each server, for users that choose the server of a group themselves."""

    async def new_channel(self, prefix: str = "specific.") -> str:
        """A channel; nothing of it is left behind where Redis does not answer."""
        channels = self._get_layer().channels
        before = set(channels)
        try:
            return str(await self._get_layer().new_channel(prefix))
        except BaseException:
            for name in channels.keys() - before:
                del channels[name]
            raise

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; where Redis does not answer it stays, and can be ended by another attempt."""
        layer = self._get_layer()
        try:
            await layer.group_discard(group, channel)
        except BaseException:
            # The library takes the member off before it unsubscribes, and finds nothing to do a second time.
            layer.groups.setdefault(layer._get_group_channel_name(group), set()).add(channel)
            raise

    async def flush(self) -> None:
        """Close all connections, those to the sentinels, too."""
        shards = [shard for shard in self._get_layer()._shards if "sentinels" in shard.host and shard._redis]
        managers = [shard._redis.connection_pool.sentinel_manager for shard in shards]
        await self._get_layer().flush()
        for manager in managers:
            for sentinel in manager.sentinels:
                await sentinel.aclose()

    def watch(self, reconnected: Callable[[Any], None], moved: Moved) -> None:
        """Have a bound method called whenever a connection that subscriptions live on was made again, and
        `moved` before another server is used.

        To be called after the first subscription; messages that are published in between reach nobody here.
        """
        self._movers[asyncio.get_running_loop()] = moved
        # The layer opens its connections with the first subscription, and redis-py calls the callback after
        # each connect of one of them. It holds a bound method weakly: a lambda would be gone at once.
        for shard in self._get_layer()._shards:
            shard._pubsub.connection.register_connect_callback(reconnected)

    async def reconnect(self) -> None:
        """Drop the connections that subscriptions live on; the layer makes them again at once."""
        for shard in self._get_layer()._shards:
            await shard._pubsub.connection.disconnect()
            if "sentinels" in shard.host:
                # Those for publishing may be at a master that is not one any more, and never fail.
                await shard._redis.connection_pool.disconnect()

    def _watched(self, host: Any) -> Any:
        if not isinstance(host, dict):
            return host
        retry = Retry(NoBackoff(), 0)
        return {**host, "connection_class": MasterConnection, "moved": self._move, "retry": retry}

    def _move(self) -> None:
        if (moved := self._movers.get(asyncio.get_running_loop())) is not None:
            moved()
