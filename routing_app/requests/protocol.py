"""The requests protocol: the Connection object of `wyre`, with send, request, partial replies and close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.urls import re_path

from routing_app.core.protocol import Protocol
from routing_app.requests.api import RequestView, SendView
from routing_app.requests.asking import OWN
from routing_app.requests.connection import Connection
from routing_app.requests.consumer import DeliveryEncoder, RequestsConsumer
from routing_app.requests.handlers import HANDLERS
from routing_app.requests.remote import RemoteRequests
from routing_app.requests.wire import Direction

if TYPE_CHECKING:
    from routing_app.core.worker import Worker


class Requests(Protocol):
    """Handlers by type, and connections that any process may ask."""

    name = "requests"
    label = "Requests"
    console_panel = "console/requests.html"
    commands = frozenset({"connect", "publish", "request", "subscribe"})
    subscribes_anywhere = True
    sockets: ClassVar = {"/connection": RequestsConsumer}
    own_requests = OWN
    urls = (
        re_path(r"^api/connections/(?P<id>[0-9a-f]+)/request$", RequestView.as_view()),
        re_path(r"^api/connections/(?P<id>[0-9a-f]+)/send$", SendView.as_view()),
    )
    encoder = DeliveryEncoder()

    @classmethod
    def console_data(cls) -> Mapping[str, Any]:
        """Types of requests that apps handle."""
        own = (type for direction, type in HANDLERS if direction is Direction.REQUEST and type not in OWN)
        return {"handlers": sorted(filter(None, own))}

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.connections: dict[str, Connection] = {}
        """Those of this process, by id."""
        self.remote = RemoteRequests(worker, self.connections)
