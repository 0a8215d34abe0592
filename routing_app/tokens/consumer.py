"""The tokens protocol's socket, `/ws`."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

from django.conf import settings

from routing_app.core.access import credentials
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import Grant
from routing_app.core.address import Address
from routing_app.core.codes import FORBIDDEN, TOKEN_UNREGISTERED, TOO_BIG, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Publication
from routing_app.core.hooks import publishing
from routing_app.core.hooks.arriving import HookRefused
from routing_app.core.hooks.question import asked_by
from routing_app.core.hooks.refusing import is_sent_away, refusal_of
from routing_app.core.hooks.table import HookSet
from routing_app.core.streams.history import last_of
from routing_app.tokens import access, wire

logger = logging.getLogger(__name__)

NOT_YOURS: Final = replace(FORBIDDEN, reason="the credential does not cover this token")


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
        """Know the client by its credential; read the token of the query string, and check it."""
        # Once for a connection: Django's settings take as long to answer as a frame takes to parse.
        self._max_receivers, self._compat = settings.MAX_RECEIVERS, settings.TOKENS_WIRE_COMPAT
        try:
            self._wanted = wire.query_token(self.scope["query_string"])
            last = wire.query_last(self.scope["query_string"])
            self._last = last_of(last) if last else 0
        except ValueError as error:
            raise Refused(replace(FORBIDDEN, reason=str(error)), Refusal.MALFORMED) from None
        self.grant = await credentials.grant_of(
            self.worker, self.protocol_name, credentials.of_scope(self.scope)
        )
        self._bounded = credentials.needs_credential(self.protocol_name)
        if self._wanted != wire.NO_TOKEN and not self._may_take(self.grant, self._wanted):
            raise Refused(NOT_YOURS)
        await access.check(self.worker, self._wanted)
        return None

    def own_identity(self) -> str:
        """The token, if there is one."""
        return _counted_as(self._wanted)

    def subscribes_at_once(self) -> bool:
        """A client may name its token."""
        return self._wanted != wire.NO_TOKEN

    async def opened(self) -> None:
        """Be known by the token; the last messages come first, where they are asked for."""
        self.worker.grants.hold(self.connection, self.grant, self._grant_changed)
        self.connection.identity = self._wanted
        if (hooks := self.hooked.subscribe) is not None and self._wanted != wire.NO_TOKEN:
            await self._check_hooks(hooks, self._wanted)
            self._check_covered(self._wanted)
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
        publish = self.limited.publish
        if publish is not None and await self.worker.rate_limits.over(publish, self.connection) is not None:
            return
        if not await self._permission.holds():
            self.refuse(Refusal.FORBIDDEN)
            return
        addresses = tuple(map(wire.address_of, receivers))
        if self._bounded:
            addresses = self._permitted(addresses)
        if (hooks := self.hooked.publish) is not None:
            await self._broadcast_as_decided(hooks, addresses, payload)
        elif addresses:
            await self.worker.hub.publish(Publication(addresses, payload))

    async def _broadcast_as_decided(
        self, hooks: HookSet, addresses: tuple[Address, ...], payload: str
    ) -> None:
        """Send to the receivers that the backend allows; the others are left out, and counted."""
        connection = self.connection
        decision = await publishing.decide(
            self.worker.hooks, hooks, addresses, payload, lambda one: asked_by(connection, one, payload)
        )
        for verdict in decision.refused.values():
            self.refuse(refusal_of(verdict))
        for part in decision.parts:
            # Its credential may have changed meanwhile, and the server may have sent it away.
            to = self._permitted(part.addresses) if self._bounded else part.addresses
            if to and not is_sent_away(connection):
                await self.worker.hub.publish(Publication(to, part.message))

    def _permitted(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        """The addresses that the credential covers; the others are left out, and counted."""
        grant = self.connection.grant
        permitted = tuple(filter(grant.may_publish, addresses))
        for _ in range(len(addresses) - len(permitted)):
            self.refuse(Refusal.FORBIDDEN)
        return permitted

    def _grant_changed(self) -> None:
        """The credential allows other addresses: a client whose token is not among them is sent away."""
        if self.connection.addresses and not self._may_take(self.connection.grant, self.connection.identity):
            self.connection.close(FORBIDDEN)

    def _may_take(self, grant: Grant, token: str) -> bool:
        """True when the credential lets its holder be known by a token."""
        return not self._bounded or grant.may_subscribe(wire.address_of(token))

    async def _register(self, token: str) -> None:
        """Change the token if it may connect (decision 12); there is no reply either way (decision 10)."""
        if token == self.connection.identity or not await self._may_change(token):
            return
        await self._become(token)
        # Its credential may have changed while it was subscribed: `_grant_changed` saw the token before.
        self._grant_changed()
        self.worker.revocations.look_at(self.connection)
        self._record()
        try:
            await access.check(self.worker, token)
        except Refused as refused:
            # A revocation since the first check could not reach this connection yet.
            if refused.reason is Refusal.GATE:
                self.connection.close(TOKEN_UNREGISTERED)

    async def _may_change(self, token: str) -> bool:
        """True when the client may be known by another token; else that is counted."""
        if not self._may_take(self.connection.grant, token):
            self.refuse(Refusal.FORBIDDEN)
            return False
        subscribe = self.limited.subscribe
        if (
            subscribe is not None
            and await self.worker.rate_limits.over(subscribe, self.connection) is not None
        ):
            return False
        try:
            await access.check(self.worker, token)
            if (hooks := self.hooked.subscribe) is not None:
                await self._check_hooks(hooks, token)
                if self.connection.is_lost:
                    return False
            self._check_covered(token)
        except Refused as refused:
            self.refuse(refused.reason)
            return False
        return True

    def _check_covered(self, token: str) -> None:
        """Look again at a credential that may have changed while something was asked. Raises Refused."""
        if not self._may_take(self.connection.grant, token):
            raise Refused(NOT_YOURS)

    async def _check_hooks(self, hooks: HookSet, token: str) -> None:
        """Ask the backend about a token. Raises Refused."""
        verdict = await self.worker.hooks.ask(hooks, asked_by(self.connection, wire.address_of(token)))
        if not verdict.allow:
            raise HookRefused(verdict)

    async def _become(self, token: str, last: int = 0) -> None:
        """Subscribe to the addresses of a token, and only then unsubscribe from those of the one before."""
        hub, connection = self.worker.hub, self.connection
        # A client without a token need not register anything, but receives only what it may.
        addresses = wire.addresses_of(token) if self._may_take(connection.grant, token) else ()
        # In this order a prefix that both tokens share is never without a subscription, and none is missed.
        # The first one already now: presence notices tell of the subscription at once, with the identity.
        connection.identity = connection.identity or token
        if last and addresses:
            own: dict[str, int] = {wire.address_of(token): last}
            (await self.worker.streams.replays.attach(connection, addresses, last=own)).start()
        else:
            await hub.subscribe(connection, *addresses)
        given = connection.given
        hub.unsubscribe(connection, *(connection.addresses.keys() - {*addresses, *given.addresses}))
        connection.identity = token
        connection.own_identity = _counted_as(token) or given.counted_as(self.protocol_name)
        self._permission = access.BroadcastPermission(self.worker, token)

    def _record(self) -> None:
        """Bring presence up to date. All changes while a write waits are one write after it."""
        self.worker.presence.tell(self.connection)
        if self._recorded.done():
            self._recorded = self.worker.presence.change(self.connection)
        elif not self._record_again:
            self._record_again = True
            self._recorded.add_done_callback(self._record_the_rest)

    def _record_the_rest(self, recorded: asyncio.Future[None]) -> None:
        self._record_again = False
        if self.connection.state is ConnectionState.OPEN:
            self._record()


def _counted_as(token: str) -> str:
    return "" if token == wire.NO_TOKEN else f"tokens {token}"
