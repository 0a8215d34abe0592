"""Django's cache on several Redis servers, or on one that Sentinel watches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient

from routing_app.core.cluster.redis_urls import client_of
from routing_app.core.cluster.spread import server_of


class SpreadCacheClient(RedisCacheClient):
    """Keeps each key on one server, which all processes choose equally."""

    def __init__(self, servers: list[str], **options: Any) -> None:
        super().__init__(servers, **options)
        self._clients = [client_of(url) for url in servers]

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        """The client of the server that has the key."""
        return self._clients[server_of(str(key), len(self._clients))]

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The values of those of the keys that exist."""
        missing = object()
        found = {key: self.get(key, missing) for key in keys}
        return {key: value for key, value in found.items() if value is not missing}

    def set_many(self, data: Mapping[Any, Any], timeout: Any) -> None:
        """Keep each value under its key."""
        for key, value in data.items():
            self.set(key, value, timeout)

    def delete_many(self, keys: Iterable[Any]) -> None:
        """Forget some keys."""
        for key in keys:
            self.delete(key)

    def clear(self) -> bool:
        """Empty the database of every server."""
        return len([client.flushdb() for client in self._clients]) > 0


class SpreadCache(RedisCache):
    """`RedisCache`, but its servers share the keys instead of repeating them."""

    def __init__(self, server: list[str], params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = SpreadCacheClient
