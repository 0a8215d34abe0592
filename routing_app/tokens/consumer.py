"""The tokens protocol's socket, `/ws`."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from django.conf import settings

from routing_app.core.access.admission import Refused
from routing_app.core.codes import FORBIDDEN, TOKEN_UNREGISTERED, TOO_BIG, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Publication
from routing_app.core.streams.history import last_of
from routing_app.tokens import access, wire

logger = logging.getLogger(__name__)


class TextEncoder:
    """A publication as this protocol's clients understand it: plain, or as the original's JSON string."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        """The string of the frame."""
        return wire.encode(wire.payload_of(publication.message), settings.TOKENS_WIRE_COMPAT)


class TokenConsumer(Consumer):
    """One client of the tokens protocol."""

    _recorded: asyncio.Future[None]
    """The write of presence that was begun last."""
    _record_again = False

    async def admit(self) -> str | None:
        """Read the token of the query string and check it."""
        # Once for a connection: Django's settings take as long to answer as a frame takes to parse.
        self._max_receivers, self._compat = settings.MAX_RECEIVERS, settings.TOKENS_WIRE_COMPAT
        try:
            self._wanted = wire.query_token(self.scope["query_string"])
            last = wire.query_last(self.scope["query_string"])
            self._last = last_of(last) if last else 0
        except ValueError as error:
            raise Refused(replace(FORBIDDEN, reason=str(error)), Refusal.MALFORMED) from None
        await access.check(self.worker, self._wanted)
        return None

    async def opened(self) -> None:
        """Be known by the token; the last messages come first, where they are asked for."""
        await self._become(self._wanted, self._last)
        # Asked again: a revocation since `admit` could not reach this connection yet.
        await access.check(self.worker, self._wanted)
        self._recorded = self.worker.presence.arrive(self.connection)

    async def received(self, text: str) -> None:
        """One frame."""
        try:
            message = wire.parse(text, self._max_receivers)
        except wire.LimitExceeded:
            self.refuse(Refusal.TOO_BIG)
            self.connection.close(TOO_BIG)
            return
        match message:
            case wire.BroadcastFrame(receivers, payload):
                await self._broadcast(receivers, payload)
            case wire.Echo(echoed):
                self.connection.send(wire.encode(echoed, self._compat))
            case wire.RegisterToken(token):
                await self._register(token)
            case wire.IgnoredFrame(reason):
                self.refuse(Refusal.MALFORMED)
                logger.debug("%s: ignored: %s", self.connection.id, reason)

    async def received_bytes(self, data: bytes) -> None:
        """A binary frame is taken as text where it is UTF-8 (decision 28)."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            await super().received_bytes(data)
            return
        await self.received(text)

    async def _broadcast(self, receivers: tuple[str, ...], payload: str) -> None:
        if not await self._permission.holds():
            self.refuse(Refusal.FORBIDDEN)
            return
        if receivers:
            addresses = tuple(map(wire.address_of, receivers))
            await self.worker.hub.publish(Publication(addresses, payload))

    async def _register(self, token: str) -> None:
        """Change the token if it may connect (decision 12); there is no reply either way (decision 10)."""
        if token == self.connection.identity:
            return
        try:
            await access.check(self.worker, token)
        except Refused as refused:
            self.refuse(refused.reason)
            return
        await self._become(token)
        self._record()
        try:
            await access.check(self.worker, token)
        except Refused as refused:
            # A revocation since the first check could not reach this connection yet.
            if refused.reason is Refusal.GATE:
                self.connection.close(TOKEN_UNREGISTERED)

    async def _become(self, token: str, last: int = 0) -> None:
        """Subscribe to the addresses of a token, and only then unsubscribe from those of the one before."""
        hub, connection = self.worker.hub, self.connection
        addresses = wire.addresses_of(token)
        # In this order a prefix that both tokens share is never without a subscription, and none is missed.
        # The first one already now: presence notices tell of the subscription at once, with the identity.
        connection.identity = connection.identity or token
        if last:
            own: dict[str, int] = {wire.address_of(token): last}
            (await self.worker.streams.replays.attach(connection, addresses, last=own)).start()
        else:
            await hub.subscribe(connection, *addresses)
        hub.unsubscribe(connection, *(connection.addresses.keys() - set(addresses)))
        connection.identity = token
        self._permission = access.BroadcastPermission(self.worker, token)

    def _record(self) -> None:
        """Bring presence up to date. All changes while a write waits are one write after it."""
        if self._recorded.done():
            self._recorded = self.worker.presence.change(self.connection)
        elif not self._record_again:
            self._record_again = True
            self._recorded.add_done_callback(self._record_the_rest)

    def _record_the_rest(self, recorded: asyncio.Future[None]) -> None:
        self._record_again = False
        if self.connection.state is ConnectionState.OPEN:
            self._record()
