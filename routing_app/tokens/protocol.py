"""The tokens protocol: clients with tokens; a message goes to a token or to all below a prefix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.urls import path

from routing_app.core.address import AddressKind
from routing_app.core.protocol import Protocol
from routing_app.core.revocations.names import Carried, Kind
from routing_app.tokens import access, exports, openapi, tasks
from routing_app.tokens.api import TokenViewSet
from routing_app.tokens.consumer import TextEncoder, TokenConsumer
from routing_app.tokens.form_api import form_api
from routing_app.tokens.unsafe import of_tokens

if TYPE_CHECKING:
    from routing_app.core.delivery.connection import Connection
    from routing_app.core.unsafe import Unsafe
    from routing_app.core.worker import Worker


class Tokens(Protocol):
    """The protocol of sai's message broker."""

    name = "tokens"
    label = "Tokens"
    console_panel = "console/tokens.html"
    commands = frozenset({"connect", "publish", "subscribe"})
    sockets: ClassVar = {"/ws": TokenConsumer}
    urls = (path("", form_api), path("api/", form_api))
    fast_urls = urls
    addresses: ClassVar = {"token": AddressKind(secret=True)}
    encoder = TextEncoder()
    secret_permission = "tokens.change_registeredtoken"  # noqa: S105 - a name, no secret
    api: ClassVar = {"tokens": TokenViewSet}
    exports = (exports.Tokens,)
    openapi = openapi.document

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.lookup = access.TokenLookup()

    @classmethod
    def unsafe_settings(cls) -> Iterable[Unsafe]:
        """Its own."""
        return of_tokens()

    def revocable(self, connection: Connection) -> Iterable[Carried]:
        """The token."""
        return (Carried(Kind.TOKEN, connection.identity),) if connection.identity else ()

    async def start(self) -> None:
        """Import, refresh and watch. Nobody gets in before the first import has ended."""
        worker = self.worker
        worker.spawn(access.watch(worker))
        if settings.TOKENS_URL:
            self.lookup.expect(worker.spawn(tasks.refresh(worker)))
            if settings.TOKENS_REFRESH_SECONDS:
                worker.spawn(tasks.keep_refreshing(worker))
