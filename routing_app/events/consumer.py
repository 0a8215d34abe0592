"""The events protocol's socket, `/websocket`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

from django.conf import settings
from pydantic import ValidationError

from routing_app.core.access.bearer import MAX_CREDENTIALS, possible_tokens
from routing_app.core.address import make
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import EXPIRED, REVOKED, UNAVAILABLE, Close, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.database import query
from routing_app.core.delivery.publication import MESSAGE, Publication
from routing_app.core.streams.history import last_of
from routing_app.events import credentials, service, wire
from routing_app.events.access import NotAllowed, check_walker
from routing_app.events.models import CHANNEL_ID_LENGTH, acceptable_channel_id
from routing_app.events.nodes import NoAccess
from routing_app.events.rates import EventRates
from routing_app.events.walker_context import PUBLIC, Visitor, WalkerCall, largest_message
from routing_app.events.walker_runner import WalkerFailed, run
from routing_app.events.walkers import WALKERS

if TYPE_CHECKING:
    from routing_app.events.protocol import Events

logger = logging.getLogger(__name__)


class EventEncoder:
    """The object itself, unwrapped (README.md, "The socket")."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        """A publication as the frame that subscribers receive; None for other events than messages."""
        return wire.dumps(publication.message) if publication.event == MESSAGE else None


def new_id() -> str:
    """A client's id, or that of a channel when the client names none: `<unix seconds>:<32 hex digits>`."""
    return f"{int(time.time())}:{secrets.token_hex(16)}"


class EventConsumer(Consumer):
    """One client: its events run one after another, and no message to it waits for them."""

    protocol: Events

    # --- arriving ----------------------------------------------------------------------------------------

    async def admit(self) -> str | None:
        """Find the visitor. A missing, wrong or expired token makes it public, without an error."""
        asked = parse_qs(self.scope["query_string"].decode("latin-1"))
        headers = self.headers(b"authorization")
        presented = [token for header in headers for token in possible_tokens(header)][:MAX_CREDENTIALS]
        self.visitor = await _visitor(*presented, *asked.get("auth", [])[-1:])
        self.client_id = new_id()
        self.asked_channel = (asked.get("channel_id") or [""])[-1]
        self._asked_last = (asked.get("last") or [""])[-1]
        fits = acceptable_channel_id(self.asked_channel)
        self.channel_id = self.asked_channel if fits else new_id()
        self.rates = EventRates(self.visitor, self.peer.host)
        self._expiry: asyncio.TimerHandle | None = None
        # One change of visitor or channel at a time: each reads the addresses, waits, and writes them.
        self._moving = asyncio.Lock()
        return None

    async def opened(self) -> None:
        """Send the connection frame, then subscribe."""
        self.protocol.sockets_here[self.connection] = self
        self._introduce()
        if self.asked_channel not in ("", self.channel_id):
            self._fail([f"ValueError: a channel_id has at most {CHANNEL_ID_LENGTH} printable characters\n"])
        try:
            last = last_of(self._asked_last) if self._asked_last else 0
        except ValueError as error:
            self._fail([f"ValueError: {error}\n"])
            last = 0
        async with self._moving:
            await self._settle(last)
        self._say_if_not_on_channel()
        self.worker.presence.arrive(self.connection)

    def closed(self) -> None:
        """Forget the socket and its timer."""
        self.protocol.sockets_here.pop(self.connection, None)
        self._forget_expiry()

    # --- events of the client ----------------------------------------------------------------------------

    async def received(self, text: str) -> None:
        """One event; a refused one is answered, and the socket stays."""
        if self._too_many():
            return
        try:
            event = wire.parse(text, settings.MAX_RECEIVERS)
            await self._handlers[type(event)](self, event)
        except wire.BadEvent as bad:
            self.refuse(Refusal.MALFORMED)
            self._fail(bad.error, bad.id)
        except wire.BadReference as bad:
            self.refuse(Refusal.MALFORMED)
            self._fail([f"ValueError: {bad}\n"])

    async def received_bytes(self, data: bytes) -> None:
        """Refuse a binary frame with the original's error, a missing key."""
        if self._too_many():
            return
        self.refuse(Refusal.BINARY)
        self._fail(["KeyError: 'text'\n"])

    def _too_many(self) -> bool:
        if wait := self.rates.take():
            self.refuse(Refusal.RATE)
            self._fail([wire.TOO_MANY.format(f"{wait:.1f}")])
        return wait > 0

    async def _on_connection(self, event: wire.ConnectionEvent) -> None:
        self._introduce()

    async def _on_targeted(self, event: wire.TargetedEvent) -> None:
        try:
            own_channel = self.channel_id if self._on_own_channel() else ""
            addresses = service.targets(event, self.visitor, own_channel, self.protocol.rules)
        except NotAllowed as no:
            self.refuse(Refusal.FORBIDDEN)
            self.connection.send(wire.refused(event.type, str(no)))
            return
        for address in addresses:
            await self.worker.hub.publish(Publication((address,), event.data))

    async def _on_change_user(self, event: wire.ChangeUserEvent) -> None:
        await self._become(await _visitor(event.token or ""))

    async def _on_walker(self, event: wire.WalkerEvent) -> None:
        try:
            walker = check_walker(WALKERS.get(event.walker), event.walker, self.visitor)
        except NotAllowed as no:
            self._refuse_walker(str(no), event)
            return
        call = WalkerCall(self.visitor, self.client_id, self.channel_id, event.node or "")
        try:
            reports = await run(walker, event.context, call)
        except ValidationError as error:
            self.refuse(Refusal.MALFORMED)
            self._fail(wire.items(error), event.id)
        except wire.BadReference as error:
            self.refuse(Refusal.MALFORMED)
            self._fail([f"ValueError: {error}\n"], event.id)
        except NoAccess as error:
            self._refuse_walker(str(error), event)
        except WalkerFailed as error:
            self.refuse(Refusal.EXCEPTION)
            self._fail(list(error.lines), event.id)
        else:
            if event.response:
                self._answer(reports, event.id)

    _handlers: ClassVar[dict[type[Any], Callable[[EventConsumer, Any], Awaitable[None]]]] = {
        wire.ConnectionEvent: _on_connection,
        wire.WalkerEvent: _on_walker,
        wire.UserEvent: _on_targeted,
        wire.ChannelEvent: _on_targeted,
        wire.ClientEvent: _on_targeted,
        wire.ChangeUserEvent: _on_change_user,
    }

    # --- frames to the client ----------------------------------------------------------------------------

    def _introduce(self) -> None:
        self.connection.send(wire.connection(self.client_id, self.visitor.root_id, self.channel_id))

    def _fail(self, error: list[Any], id: Any = None) -> None:
        self.connection.send(wire.failed(error, id))

    def _refuse_walker(self, error: str, event: wire.WalkerEvent) -> None:
        self.refuse(Refusal.FORBIDDEN)
        self.connection.send(wire.refused("walker", error, event.id))

    def _answer(self, reports: list[Any], id: Any) -> None:
        text = wire.envelope(reports, id)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if size > largest_message():
            self._fail([f"ValueError: the response has {size} bytes, too many to send\n"], id)
        else:
            self.connection.send(text)

    # --- visitor and subscriptions -----------------------------------------------------------------------

    def token_ended(self, jti: str, close: Close) -> None:
        """The token `jti` is void; if it is this socket's, the socket closes or becomes the public's."""
        if not jti or jti != self.visitor.jti:
            return
        if settings.EVENTS_EXPIRED_SOCKETS == "close":
            self.connection.close(close)
        else:
            # At once, although `_become` does it too: that waits for a change under way, and for the layer.
            self.worker.hub.unsubscribe(self.connection, make("user", self.visitor.root_id))
            self.visitor = PUBLIC
            self.worker.spawn(self._become(PUBLIC))

    async def _become(self, visitor: Visitor) -> None:
        """Belong to another visitor, and say so once subscribed to that visitor's messages."""
        async with self._moving:
            self.visitor = visitor
            self.rates.belong_to(visitor)
            if await self._resettle():
                self._introduce()
                self._say_if_not_on_channel()

    async def obey_rules(self) -> None:
        """Subscribe to the channel, or unsubscribe and tell the client, as the channel's row says now."""
        async with self._moving:
            as_before = (
                self.protocol.rules.may_listen(self.visitor, self.channel_id) is self._on_own_channel()
            )
            if not as_before and self.connection in self.protocol.sockets_here and await self._resettle():
                self._say_if_not_on_channel()

    async def _resettle(self) -> bool:
        """Settle an open socket; False when the layer is out and the socket closes."""
        try:
            await self._settle()
        except LayerUnavailable:
            self.connection.close(UNAVAILABLE)
            return False
        self.worker.presence.change(self.connection)
        return True

    async def _settle(self, last: int = 0) -> None:
        """Subscribe to the visitor's addresses only, and watch the token; the `last` messages of the channel
        come first. Raises LayerUnavailable, StoreUnavailable.
        """
        hub, visitor = self.worker.hub, self.visitor
        self.connection.identity = visitor.root_id
        wanted = {make("client", self.client_id), make("user", visitor.root_id)}
        if self.protocol.rules.may_listen(visitor, self.channel_id):
            wanted.add(make("channel", self.channel_id))
        # First off the former visitor's addresses: while the layer is slow, nothing of theirs may arrive.
        hub.unsubscribe(self.connection, *(self.connection.addresses.keys() - wanted))
        if last:
            of_channel: dict[str, int] = {make("channel", self.channel_id): last}
            (await self.worker.streams.replays.attach(self.connection, wanted, last=of_channel)).start()
        else:
            await hub.subscribe(self.connection, *wanted)
        self._watch_expiry(visitor)
        if visitor.jti:
            # A revocation between the look at the token and the subscription has reached nobody.
            void = await query(credentials.void_among, [visitor.jti])
            if void:
                self.token_ended(visitor.jti, REVOKED)

    def _on_own_channel(self) -> bool:
        return make("channel", self.channel_id) in self.connection.addresses

    def _say_if_not_on_channel(self) -> None:
        if not self._on_own_channel():
            self.refuse(Refusal.FORBIDDEN)
            self.connection.send(wire.refused("channel", wire.NO_CHANNEL.format(self.channel_id)))

    def _watch_expiry(self, visitor: Visitor) -> None:
        self._forget_expiry()
        if visitor.jti and self.connection in self.protocol.sockets_here:
            delay = max(0.0, visitor.expires_at - time.time())
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(delay, self.token_ended, visitor.jti, EXPIRED)

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


async def _visitor(*tokens: str) -> Visitor:
    """The visitor of the first valid token: a proxy's own may stand before a client's."""
    for token in filter(None, tokens):
        if visitor := await query(credentials.check, token):
            return visitor
    return PUBLIC
