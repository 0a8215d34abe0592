"""The requests protocol: the Connection object of `wyre`, with send, request, partial replies and close."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.urls import re_path

from routing_app.core.protocol import Protocol
from routing_app.requests import service
from routing_app.requests.api import RequestView, SendView
from routing_app.requests.connection import Connection
from routing_app.requests.consumer import DeliveryEncoder, RequestsConsumer
from routing_app.requests.remote import RemoteRequests

if TYPE_CHECKING:
    from routing_app.core.worker import Worker


class Requests(Protocol):
    """Handlers by type, and connections that any process may ask."""

    name = "requests"
    label = "Requests"
    sockets: ClassVar = {"/connection": RequestsConsumer}
    urls = (
        re_path(r"^api/connections/(?P<id>[0-9a-f]+)/request$", RequestView.as_view()),
        re_path(r"^api/connections/(?P<id>[0-9a-f]+)/send$", SendView.as_view()),
    )
    encoder = DeliveryEncoder()

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.connections: dict[str, Connection] = {}
        """Those of this process, by id."""
        self.remote = RemoteRequests(worker, self.connections)

    async def start(self) -> None:
        """Check the rights of connections as long as the worker lives."""
        self.worker.spawn(service.watch(self.worker))
