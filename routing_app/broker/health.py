"""`/health/live` and `/health/ready`, answered before Django: no thread, no middleware, also while draining.

`live` says that the event loop runs. `ready` says that this process can take new clients: its database
and its channel layer answer, and it is not stopping. Of several Redis servers one has to answer: those that
do not are named, and the process stays ready for the share of the others.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection

from routing_app.core.cluster.redis_urls import split, without_password
from switchboard_server import STATE

logger = logging.getLogger(__name__)

LIVE: Final = "/health/live"
READY: Final = "/health/ready"
PROBE_SECONDS: Final = 1.5
"""Longest wait for a database or a layer."""
FRESH_SECONDS: Final = 1.0
"""How long a result is used again."""
GROUP: Final = "switchboard.health"
"""A group without members: sending to it tries the layer, and reaches no consumer."""

_thread = ThreadPoolExecutor(1, thread_name_prefix="health")


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Probe:
    """A check of one service, made once for all requests at the same time."""

    def __init__(self, name: str, ask: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._ask = ask
        self._asking: asyncio.Task[str] | None = None
        self._result = ""
        self._asked_at = 0.0

    async def result(self) -> str:
        """`ok`, or the fault in a few words; within PROBE_SECONDS."""
        loop = asyncio.get_running_loop()
        if self._result and loop.time() - self._asked_at < FRESH_SECONDS:
            return self._result
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._asked())
        try:
            # The query goes on after this timeout, so that a service that hangs is asked once.
            return await asyncio.wait_for(asyncio.shield(self._asking), PROBE_SECONDS)
        except TimeoutError:
            return "no answer"

    async def _asked(self) -> str:
        try:
            await self._ask()
            self._result = "ok"
        except Exception as error:
            logger.warning("%s is not usable: %s", self._name, error)
            self._result = type(error).__name__
        self._asked_at = asyncio.get_running_loop().time()
        return self._result


def _select_one() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


async def _ask_database() -> None:
    await asyncio.get_running_loop().run_in_executor(_thread, _select_one)


async def _ask_layer(server: int = 0) -> None:
    if (layer := get_channel_layer()) is not None:
        layers = getattr(layer, "servers", [layer])
        await layers[server].group_send(GROUP, {"type": "health.probe"})


def _redis_probes() -> dict[str, Probe]:
    """A probe of each Redis server by its name, where there are several."""
    urls = split(settings.REDIS_URL) if settings.REDIS_URL else []
    names = [f"redis {number} {without_password(url)}" for number, url in enumerate(urls, 1)]
    if len(names) < 2:
        return {}
    return {name: Probe(name, partial(_ask_layer, number)) for number, name in enumerate(names)}


class Health:
    """ASGI middleware: answers the two paths, gives everything else to `application`."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._database = Probe("database", _ask_database)
        self._redis = _redis_probes() or {"layer": Probe("layer", _ask_layer)}

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        """Serve one HTTP scope."""
        ours = scope["type"] == "http" and scope["path"] in (LIVE, READY)
        return (self._serve if ours else self._application)(scope, receive, send)

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, {"error": "GET or HEAD"}, [(b"allow", b"GET, HEAD")])
        elif scope["path"] == LIVE:
            await _answer(send, 200, {"status": "live"})
        else:
            await self._ready(scope, send)

    async def _ready(self, scope: dict[str, Any], send: Any) -> None:
        state = (scope.get("extensions") or {}).get(STATE, {})
        if state.get("draining"):
            await _answer(send, 503, {"status": "draining"})
            return
        database, *results = await asyncio.gather(
            self._database.result(), *(probe.result() for probe in self._redis.values())
        )
        found = {"database": database, **dict(zip(self._redis, results, strict=True))}
        ready = database == "ok" and "ok" in results
        await _answer(send, 200 if ready else 503, {"status": "ready" if ready else "not ready", **found})


async def _answer(
    send: Any, status: int, body: dict[str, str], headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    text = json.dumps(body).encode()
    fixed = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *(headers or [])]})
    await send({"type": "http.response.body", "body": text})
