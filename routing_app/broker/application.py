"""The ASGI application of a project: the broker's sockets and paths, and the project's own."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.urls import Resolver404, resolve

from routing_app.broker import protocols
from routing_app.broker.health import Health
from routing_app.broker.routing import (
    PATHS,
    Application,
    Hosts,
    Networks,
    Polling,
    Scope,
    Switchboard,
    below_root,
    find,
)
from routing_app.core import tracing
from routing_app.core.lifespan import Lifespan
from routing_app.core.request_id import RequestIds
from routing_app.core.rest import mount
from routing_app.core.rest.bodies import Bodies
from routing_app.core.rest.compression import Gzip
from routing_app.core.rest.fast import FastViews
from routing_app.core.rest.limited import LimitedCalls


class Shared:
    """Gives requests to the broker's paths to the broker, and all others to the project as they came."""

    def __init__(self, broker: Application, project: Application, sockets: Mapping[str, Any]) -> None:
        self._broker = broker
        self._project = project
        self._sockets = sockets
        self._endpoints = protocols.endpoints()
        self._is_ours = lru_cache(PATHS)(self._look)

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one HTTP scope."""
        application = self._broker if self._is_ours(below_root(scope)) else self._project
        return application(scope, receive, send)

    def _look(self, path: str) -> bool:
        if find(self._endpoints, path) is not None:
            return True
        try:
            return mount.owns(resolve(path))
        except Resolver404:
            # The path of a socket: a client that lost its Upgrade on the way is told so.
            return find(self._sockets, path) is not None


def join(application: Any, whole_site: bool) -> Any:
    """See `switchboard.asgi`. Consumers import models: this module is imported when Django is set up."""
    tracing.start()
    sockets = protocols.sockets()
    django = LimitedCalls(Bodies(FastViews(application, "routing_app.broker.fast_urls")))
    broker: Any = Hosts(Networks(Polling(django, protocols.endpoints(), sockets)))
    broker = Gzip(broker) if settings.COMPRESSION else broker
    http: Any = Health(broker if whole_site else Shared(broker, application, sockets))
    traced = tracing.TracedHttp(http) if tracing.spans is not None else http
    others = getattr(application, "application_mapping", {}).get("websocket")
    return Lifespan(RequestIds(Switchboard(http=traced, sockets=sockets, others=others)))
