"""The servers of `REDIS_URL`, and clients for them.

Servers have commas between them. Each is `redis://`, `rediss://` or `unix://` as redis-py reads it, or a
master that Sentinel watches:

    sentinel://user:password@sentinel-1:26379;sentinel-2:26379/master-name/0?sentinel_password=secret

User, password and database number are those of the master; all of them, and the ports, may be left out. A
comma or semicolon in a password is written %2C or %3B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import redis
from redis import asyncio as aioredis
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

SCHEMES: Final = ("redis://", "rediss://", "unix://")
SENTINEL: Final = "sentinel://"
SENTINEL_PORT: Final = 26379
SENTINEL_SECONDS: Final = 1.0
"""Longest wait for one of the sentinels; then the next one is asked."""


def split(redis_url: str) -> list[str]:
    """The URL of each server. Raises ValueError, with a sentence that holds no part of a URL."""
    urls = [url.strip() for url in redis_url.split(",")]
    for url in urls:
        if url.startswith(SENTINEL):
            sentinel_of(url)
        elif not (url.startswith(SCHEMES) and _is_usable(url)):
            raise ValueError("expected redis://host:port/number, several with commas between")
    if len(set(urls)) < len(urls):
        raise ValueError("expected each server once")
    return urls


def is_sentinel(url: str) -> bool:
    """True for the URL of a master that Sentinel watches."""
    return url.startswith(SENTINEL)


def sentinel_of(url: str) -> dict[str, Any]:
    """A sentinel URL as channels_redis takes it. Raises ValueError, with a sentence that holds no secret."""
    wrong = ValueError("expected sentinel://host:port;host:port/master-name/number")
    rest, _, query = url.removeprefix(SENTINEL).partition("?")
    place, _, path = rest.partition("/")
    login, _, hosts = place.rpartition("@")
    name, _, number = path.partition("/")
    options = dict(parse_qsl(query))
    if not name or not set(options) <= {"sentinel_username", "sentinel_password"}:
        raise wrong
    try:
        sentinels = [_host(one) for one in hosts.split(";")]
        database = int(number or 0)
    except ValueError:
        raise wrong from None
    if database < 0 or not all(0 < port < 65_536 for _, port in sentinels):
        raise wrong
    user, _, password = login.partition(":")
    sentinel_kwargs: dict[str, Any] = {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        **{key.removeprefix("sentinel_"): value for key, value in options.items()},
    }
    return {
        "master_name": unquote(name),
        "sentinels": sentinels,
        "sentinel_kwargs": sentinel_kwargs,
        "db": database,
        **({"username": unquote(user)} if user else {}),
        **({"password": unquote(password)} if password else {}),
    }


def host_of(url: str) -> str | dict[str, Any]:
    """A server as channels_redis takes it among `hosts`."""
    return sentinel_of(url) if is_sentinel(url) else url


def client_of(url: str, **options: Any) -> redis.Redis:
    """A synchronous client; `options` are those of its connections."""
    if not is_sentinel(url):
        return redis.Redis.from_url(url, **options)
    sentinel, name, rest = _sentinel(Sentinel, url)
    client: redis.Redis = sentinel.master_for(name, **{**rest, **options})
    return client


@contextmanager
def opened(url: str, **options: Any) -> Iterator[redis.Redis]:
    """A client that is closed in the end, with those of its sentinels."""
    with client_of(url, **options) as client:
        yield client
        manager = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager else ():
        sentinel.close()


def async_client_of(url: str, **options: Any) -> aioredis.Redis:
    """An asynchronous client; `options` are those of its connections."""
    if not is_sentinel(url):
        client: aioredis.Redis = aioredis.Redis.from_url(url, **options)
        return client
    sentinel, name, rest = _sentinel(AsyncSentinel, url)
    master: aioredis.Redis = sentinel.master_for(name, **{**rest, **options})
    return master


def without_password(url: str) -> str:
    """A URL without everything before the last @, and without a query that holds a password, so that no way
    of writing one escapes."""
    scheme, separator, rest = url.partition("://")
    shown = rest.rpartition("@")[2]
    return scheme + separator + (shown.partition("?")[0] if "password" in shown else shown)


def _sentinel(kind: Any, url: str) -> tuple[Any, str, Mapping[str, Any]]:
    rest = sentinel_of(url)
    sentinels, kwargs = rest.pop("sentinels"), rest.pop("sentinel_kwargs")
    return kind(sentinels, sentinel_kwargs=kwargs), rest.pop("master_name"), rest


def _is_usable(url: str) -> bool:
    """Does redis-py know host, port, number and options? It says so with the first connection: too late."""
    try:
        redis.ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, redis.RedisError):
        return False
    return True


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    if not host:
        raise ValueError(text)
    return host.strip("[]"), int(port or SENTINEL_PORT)
