"""The stream protocol: publications as Server-Sent Events."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routing_app.core.delivery.connection import Connection
from routing_app.core.protocol import Protocol
from routing_app.stream import access, endpoint, openapi
from routing_app.stream.access import Reader

if TYPE_CHECKING:
    from routing_app.core.worker import Worker


class Stream(Protocol):
    """EventSource, and everything that reads HTTP line by line."""

    name = endpoint.NAME
    label = "Event streams"
    http: ClassVar = {endpoint.PATH: endpoint.serve}
    encoder = endpoint.ENCODER
    openapi_tag = openapi.TAG
    openapi = openapi.document

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.readers: dict[Connection, Reader] = {}
        """Those of this process."""

    async def start(self) -> None:
        """Check the rights of readers as long as the worker lives."""
        self.worker.spawn(access.watch(self))
