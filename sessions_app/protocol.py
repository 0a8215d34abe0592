"""The sessions protocol: Cleeng's DRISC, how many streams one customer may play at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings

from routing_app.core.address import AddressKind
from routing_app.core.protocol import Protocol
from sessions_app import fencing, openapi, sweep
from sessions_app.api import SessionViewSet
from sessions_app.consumer import NoMessages, SessionConsumer
from sessions_app.coordinator import Coordinator
from sessions_app.urls import urlpatterns

if TYPE_CHECKING:
    from routing_app.core.worker import Worker


class Sessions(Protocol):
    """Simultaneous session control."""

    name = "sessions"
    label = "Session control"
    default_origins = "*"
    sockets: ClassVar = {"/": SessionConsumer}
    urls = tuple(urlpatterns)
    fast_urls = tuple(urlpatterns)
    addresses: ClassVar = dict.fromkeys(("customer", "session"), AddressKind(publish=False, subscribe=False))
    encoder = NoMessages()
    keep_rows_seconds = settings.SESSIONS_GRACE_SECONDS
    api: ClassVar = {"sessions": SessionViewSet}
    openapi_tag = openapi.TAG
    openapi = openapi.document

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.coordinator = Coordinator(worker)

    async def start(self) -> None:
        """Run the sweep, and the check that stops players before lease and grace are over."""
        self.worker.spawn(sweep.run_periodically(self.coordinator))
        fencing.start(self.coordinator)
