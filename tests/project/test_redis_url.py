"""`REDIS_URL`: several servers, and masters behind Sentinel."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from routing_app.broker import stores
from routing_app.core.cluster.redis_urls import sentinel_of, split, without_password

pytestmark = pytest.mark.once

SENTINEL = "sentinel://me:p%40ss@one:1;two;[::1]:3/main/4?sentinel_username=s&sentinel_password=t"


def test_one_server_is_configured_as_ever() -> None:
    url = "redis://:secret@host:6379/1"
    assert stores.channel_layer(url)["CONFIG"] == {"hosts": [url]}
    assert stores.cache(url)["BACKEND"] == "django.core.cache.backends.redis.RedisCache"
    assert stores.cache(url)["LOCATION"] == [url]


def test_several_servers_have_commas_between_them() -> None:
    urls = "redis://one:1/0, rediss://two:2/0,unix:///run/redis.sock"
    assert split(urls) == ["redis://one:1/0", "rediss://two:2/0", "unix:///run/redis.sock"]
    assert stores.cache(urls)["BACKEND"] == "routing_app.broker.cache.SpreadCache"


def test_a_master_behind_sentinel_is_read() -> None:
    found = sentinel_of(SENTINEL)
    assert found["sentinels"] == [("one", 1), ("two", 26379), ("::1", 3)]
    assert (found["master_name"], found["db"]) == ("main", 4)
    assert (found["username"], found["password"]) == ("me", "p@ss")
    assert (found["sentinel_kwargs"]["username"], found["sentinel_kwargs"]["password"]) == ("s", "t")
    assert without_password(SENTINEL) == "sentinel://one:1;two;[::1]:3/main/4"


@pytest.mark.parametrize(
    "url",
    [
        "http://hush",
        "redis://one,",
        "redis://one,hush://two",
        "redis://one:hush,redis://one:hush",
        "sentinel://hush",
        "sentinel://hush:port/main",
        "sentinel:///main",
        "sentinel://hush/main/number",
        "sentinel://hush/main?hush=1",
    ],
)
def test_an_unreadable_url_is_one_line_without_a_part_of_it(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        stores.channel_layer(url)
    assert str(caught.value).startswith("REDIS_URL: expected ")
    assert "hush" not in str(caught.value)
