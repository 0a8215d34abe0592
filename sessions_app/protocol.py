"""The sessions protocol: Cleeng's DRISC, how many streams one customer may play at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings

from routing_app.core.address import AddressKind
from routing_app.core.protocol import Protocol
from sessions_app import exports, fencing, openapi, revocations, sweep
from sessions_app.access import customer_tokens
from sessions_app.api import HistoryViewSet, SessionViewSet, UsageViewSet
from sessions_app.consumer import NoMessages, SessionConsumer
from sessions_app.coordinator import Coordinator
from sessions_app.publishers_api import (
    OF_PUBLISHER,
    PublisherKeyViewSet,
    PublisherLimitViewSet,
    PublisherViewSet,
)
from sessions_app.trial_api import ReachedViewSet, TotalsViewSet, TryViewSet
from sessions_app.unsafe import of_sessions
from sessions_app.urls import urlpatterns

if TYPE_CHECKING:
    from routing_app.core.delivery.connection import Connection
    from routing_app.core.revocations.known import Revoked
    from routing_app.core.revocations.names import Carried
    from routing_app.core.unsafe import Unsafe
    from routing_app.core.worker import Worker


class Sessions(Protocol):
    """Simultaneous session control."""

    name = "sessions"
    label = "Session control"
    console_panel = "sessions_app/panel.html"
    commands = frozenset({"connect", "create"})
    asks = frozenset({"request"})
    default_origins = "*"
    access = False
    sockets: ClassVar = {"/": SessionConsumer}
    urls = tuple(urlpatterns)
    fast_urls = tuple(urlpatterns)
    addresses: ClassVar = dict.fromkeys(("customer", "session"), AddressKind(publish=False, subscribe=False))
    encoder = NoMessages()
    token_kind = customer_tokens
    keep_rows_seconds = settings.SESSIONS_GRACE_SECONDS
    api: ClassVar = {
        "sessions": SessionViewSet,
        "sessions/history": HistoryViewSet,
        "sessions/usage": UsageViewSet,
        "sessions/totals": TotalsViewSet,
        "publishers": PublisherViewSet,
        f"{OF_PUBLISHER}/limits": PublisherLimitViewSet,
        f"{OF_PUBLISHER}/limits/try": TryViewSet,
        f"{OF_PUBLISHER}/limits/reached": ReachedViewSet,
        f"{OF_PUBLISHER}/keys": PublisherKeyViewSet,
    }
    openapi_tag = openapi.TAG
    exports = (exports.Publishers,)
    openapi = openapi.document

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.coordinator = Coordinator(worker)

    @classmethod
    def unsafe_settings(cls) -> Iterable[Unsafe]:
        """Its own."""
        return of_sessions()

    def revocable(self, connection: Connection) -> Iterable[Carried]:
        """The customer."""
        socket = self.coordinator.sockets.get(connection.id)
        return () if socket is None else (socket.carried,)

    def end_revoked(self, connection: Connection) -> None:
        """Tell the player, as an operator does, and end its session."""
        socket = self.coordinator.sockets.get(connection.id)
        if socket is None:
            super().end_revoked(connection)
        else:
            socket.revoke()

    async def revoked(self, revoked: Revoked) -> None:
        """End the sessions of revoked customers, also those that no player is connected to."""
        await revocations.end_sessions(revoked)

    async def start(self) -> None:
        """Run the sweep, and the check that stops players before lease and grace are over."""
        self.worker.spawn(sweep.run_periodically(self.coordinator))
        fencing.start(self.coordinator)
