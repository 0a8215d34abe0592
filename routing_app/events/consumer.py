"""The events protocol's socket, `/websocket`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.parse import parse_qs

from django.conf import settings
from pydantic import ValidationError

from routing_app.core.access.admission import Refused, refused_by
from routing_app.core.access.credentials import needs_credential
from routing_app.core.address import Address, make
from routing_app.core.codes import EXPIRED, REVOKED, Close, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.database import query
from routing_app.core.delivery.connection import NOTHING_GIVEN, ConnectionState
from routing_app.core.delivery.publication import MESSAGE, Publication
from routing_app.core.hooks import publishing
from routing_app.core.hooks.question import Verdict, asked_by
from routing_app.core.hooks.refusing import is_sent_away, refusal_of
from routing_app.core.hooks.table import HookSet
from routing_app.core.rate_limits.limit import Excess
from routing_app.core.rate_limits.table import LimitSet
from routing_app.core.streams.history import last_of
from routing_app.events import credentials, decisions, identities, service, wire
from routing_app.events.access import NotAllowed, check_walker
from routing_app.events.identities import ANYBODY, Identity
from routing_app.events.models import CHANNEL_ID_LENGTH, acceptable_channel_id
from routing_app.events.nodes import NoAccess
from routing_app.events.walker_context import Visitor, WalkerCall, largest_message
from routing_app.events.walker_runner import WalkerFailed, WalkerUnavailable, run
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


UNDECIDED: Final = Verdict(allow=False)


class Targets(NamedTuple):
    """The addresses of an event that its client may send to, and how many others it names."""

    permitted: list[Address]
    forbidden: int = 0
    refusal: str = ""
    """The words for the first other one."""


def new_id() -> str:
    """A client's id, or that of a channel when the client names none: `<unix seconds>:<32 hex digits>`."""
    return f"{int(time.time())}:{secrets.token_hex(16)}"


class EventConsumer(Consumer):
    """One client: its events run one after another, and no message to it waits for them."""

    protocol: Events
    _kept_off: Verdict | None = None
    """The verdict that keeps the client off its channel."""

    # --- arriving ----------------------------------------------------------------------------------------

    async def admit(self) -> str | None:
        """Find out who it is. Raises Refused (`identities.of_handshake`), and what the database raises while
        the rules of channels are not known.
        """
        await self.protocol.rules.freshen()
        asked = parse_qs(self.scope["query_string"].decode("latin-1"))
        self.identity = await identities.of_handshake(self.worker, self.scope)
        self.grant = self.identity.grant
        self.client_id = new_id()
        self.asked_channel = (asked.get("channel_id") or [""])[-1]
        self._asked_last = (asked.get("last") or [""])[-1]
        fits = acceptable_channel_id(self.asked_channel)
        self.channel_id = self.asked_channel if fits else new_id()
        # One change of visitor or channel at a time: each reads the addresses, waits, and writes them.
        self._moving = asyncio.Lock()
        return None

    def own_identity(self) -> str:
        """The user; the public is nobody."""
        return f"events {self.visitor.root_id}" if self.visitor.authenticated else ""

    def subscribes_at_once(self) -> bool:
        """A client may name its channel."""
        return bool(self.asked_channel == self.channel_id)

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
        if self.hooked.subscribe is not None:
            self._kept_off = UNDECIDED  # a change of the channel's row does not let it in meanwhile
            asked_for = self.identity
            verdict = await self._channel_refusal(asked_for)
            if self.identity is asked_for:  # else its login has ended, and the public is asked for
                self._kept_off = verdict
        self._watch_expiry()
        async with self._moving:
            await self._settle(last)
        self._say_if_not_on_channel()
        self.worker.presence.arrive(self.connection)

    def closed(self) -> None:
        """Forget the socket."""
        self.protocol.sockets_here.pop(self.connection, None)

    @property
    def visitor(self) -> Visitor:
        """The user, or the public."""
        return self.identity.visitor

    # --- events of the client ----------------------------------------------------------------------------

    async def received(self, text: str) -> None:
        """One event; a refused one is answered, and the socket stays."""
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
        self.refuse(Refusal.BINARY)
        self._fail(["KeyError: 'text'\n"])

    async def over_limit(self, message: dict[str, Any], excess: Excess) -> None:
        """Answer an event that is beyond a limit of everything."""
        self._fail_by_rate(excess)

    def _fail_by_rate(self, excess: Excess, id: Any = None) -> None:
        self._fail([wire.TOO_MANY.format(f"{excess.seconds:.1f}")], id)

    async def _is_over(self, limits: LimitSet, id: Any = None) -> bool:
        """True when an event is beyond a limit, which was answered."""
        excess = await self.worker.rate_limits.over(limits, self.connection)
        if excess is not None and self.connection.state is ConnectionState.OPEN:
            self._fail_by_rate(excess, id)
        return excess is not None

    async def _on_connection(self, event: wire.ConnectionEvent) -> None:
        self._introduce()

    async def _on_targeted(self, event: wire.TargetedEvent) -> None:
        if self.limited.publish is not None and await self._is_over(self.limited.publish):
            return
        targets = self._targets(event)
        for _ in range(targets.forbidden):
            self.refuse(Refusal.FORBIDDEN)
        refusal = targets.refusal
        if targets.permitted and (hooks := self.hooked.publish) is not None:
            refusal = await self._send_as_decided(hooks, event, targets.permitted) or refusal
        else:
            for address in targets.permitted:
                await self.worker.hub.publish(Publication((address,), event.data))
        if refusal:
            self.connection.send(wire.refused(event.type, refusal))

    def _targets(self, event: wire.TargetedEvent) -> Targets:
        """The addresses that the client may send to: of a user all of an event or none, within a grant those
        that it covers. Raises BadReference.
        """
        bounds = self.identity.bounds
        if bounds is None:
            own_channel = self.channel_id if self._on_own_channel() else ""
            try:
                return Targets(service.targets(event, self.visitor, own_channel, self.protocol.rules))
            except NotAllowed as no:
                return Targets([], 1, str(no))
        own, named = make("client", self.client_id), service.addressed(event)
        forbidden = [address for address in named if address != own and not bounds.may_publish(address)]
        if not forbidden:
            return Targets(named)
        permitted = [address for address in named if address not in forbidden]
        return Targets(permitted, len(forbidden), wire.no_target(event.type, forbidden[0]))

    async def _send_as_decided(
        self, hooks: HookSet, event: wire.TargetedEvent, addresses: list[Address]
    ) -> str:
        """Send to the targets that the backend allows; the words for the first other one, "" for none."""
        connection = self.connection
        decision = await publishing.decide(
            self.worker.hooks, hooks, addresses, event.data, lambda one: asked_by(connection, one, event.data)
        )
        for verdict in decision.refused.values():
            self.refuse(refusal_of(verdict))
        late = "" if is_sent_away(connection) else await self._send_parts(event, addresses, decision)
        for address, verdict in decision.refused.items():
            return decisions.sentence(verdict) or wire.no_target(event.type, address)
        return late

    async def _send_parts(
        self, event: wire.TargetedEvent, addresses: list[Address], decision: publishing.Decision
    ) -> str:
        """Send what the backend allows, where the client still may; the words for the first target where it
        may no longer, "" for none.
        """
        messages = {one: part.message for part in decision.parts for one in part.addresses}
        now = self._targets(event)  # it may be somebody else by now
        still, lost = set(now.permitted), 0
        for address in addresses:
            if address in messages and address in still:
                await self.worker.hub.publish(Publication((address,), messages[address]))
            elif address in messages:
                lost += 1
        # Those that were forbidden before have been counted, and a user's event counts once as a whole.
        for _ in range(min(lost, now.forbidden)):
            self.refuse(Refusal.FORBIDDEN)
        return now.refusal if lost else ""

    async def _on_change_user(self, event: wire.ChangeUserEvent) -> None:
        try:
            identity = await identities.of_tokens(self.worker, event.token or "")
        except Refused as refused:
            if refused.reason is not Refusal.REVOKED:
                raise
            self.refuse(Refusal.REVOKED)
            self.connection.send(wire.refused("change_user", wire.TAKEN_BACK))
            return
        await self._become(identity)

    async def _on_walker(self, event: wire.WalkerEvent) -> None:
        if self.limited.request is not None and await self._is_over(self.limited.request, event.id):
            return
        hooks = self.hooked.request
        if hooks is not None and event.walker not in WALKERS and hooks.concerns(event.walker):
            await self._answer_by_hook(hooks, event)
            return
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
            is_out = isinstance(error, WalkerUnavailable)
            self.refuse(Refusal.UNAVAILABLE if is_out else Refusal.EXCEPTION)
            self._fail(list(error.lines), event.id)
        else:
            if event.response:
                self._answer(reports, event.id)

    async def _answer_by_hook(self, hooks: HookSet, event: wire.WalkerEvent) -> None:
        """Run a walker of the backend's."""
        if event.node and event.node != self.visitor.root_id:
            self._refuse_walker(wire.NO_ACCESS.format(event.node), event)
            return
        question = asked_by(self.connection, event.walker, event.context)
        try:
            reports = await decisions.run(self.worker.hooks, hooks, question)
        except decisions.WalkerRefused as refused:
            self._refuse_walker(str(refused), event, refused.refusal)
        except decisions.NotAnswered:
            self._refuse_walker(wire.UNKNOWN_WALKER, event)
        except WalkerFailed as error:
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

    def _refuse_walker(
        self, error: str, event: wire.WalkerEvent, refusal: Refusal = Refusal.FORBIDDEN
    ) -> None:
        self.refuse(refusal)
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
        if settings.EVENTS_EXPIRED_SOCKETS == "close" or needs_credential(identities.NAME):
            self.connection.close(close)
        else:
            # At once, although `_move` does it too: that waits for a change under way, and for the layer.
            self.worker.hub.unsubscribe(self.connection, make("user", self.visitor.root_id))
            self.identity = ANYBODY
            self.worker.spawn(self._become_public())

    async def _become_public(self) -> None:
        """Go on as the public, unless the client has become somebody else before its turn came."""
        self.connection.given = NOTHING_GIVEN
        kept_off = await self._channel_refusal(ANYBODY)
        async with self._moving:
            if self.identity is ANYBODY:
                await self._move(ANYBODY, kept_off)

    async def _become(self, identity: Identity) -> None:
        """Belong to another visitor, and say so once subscribed to that visitor's messages."""
        self.connection.given = NOTHING_GIVEN  # to whom it was before
        kept_off = await self._channel_refusal(identity)
        async with self._moving:
            await self._move(identity, kept_off)

    async def _move(self, identity: Identity, kept_off: Verdict | None) -> None:
        self.identity, self._kept_off = identity, kept_off
        self.connection.own_identity = self.own_identity()
        # Before any wait: what the former visitor stood on is nothing to this one, and a revocation of what
        # this one stands on has to find it.
        self._watch_expiry()
        self.worker.revocations.look_at(self.connection)
        if await self._resettle():
            self._introduce()
            self._say_if_not_on_channel()

    async def obey_rules(self) -> None:
        """Subscribe to the channel, or unsubscribe and tell the client, as the channel's row says now."""
        async with self._moving:
            as_before = self._may_listen() is self._on_own_channel()
            if not as_before and self.connection in self.protocol.sockets_here and await self._resettle():
                self._say_if_not_on_channel()

    async def _resettle(self) -> bool:
        """Settle an open socket; False when that fails and the socket closes: it may be half moved.

        Seen to here: the tasks that call this answer no client, and have other sockets to settle.
        """
        try:
            await self._settle()
        except Exception as error:
            refused = refused_by(self.protocol_name, error)
            self.refuse(refused.reason)
            self.connection.close(refused.close)
            return False
        self.worker.presence.change(self.connection)
        return True

    async def _settle(self, last: int = 0) -> None:
        """Subscribe to the visitor's addresses only; the `last` messages of the channel come first.

        Raises LayerUnavailable, StoreUnavailable, and what the database raises.
        """
        hub, visitor = self.worker.hub, self.visitor
        given = self.connection.given
        self.connection.identity = given.identity or self.identity.name
        wanted = {*given.addresses, make("client", self.client_id), make("user", visitor.root_id)}
        if self._may_listen():
            wanted.add(make("channel", self.channel_id))
        # First off the former visitor's addresses: while the layer is slow, nothing of theirs may arrive.
        hub.unsubscribe(self.connection, *(self.connection.addresses.keys() - wanted))
        if last:
            of_channel: dict[str, int] = {make("channel", self.channel_id): last}
            (await self.worker.streams.replays.attach(self.connection, wanted, last=of_channel)).start()
        else:
            await hub.subscribe(self.connection, *wanted)
        if visitor.jti:
            # A revocation between the look at the token and the subscription has reached nobody.
            void = await query(credentials.void_among, [visitor.jti])
            if void:
                self.token_ended(visitor.jti, REVOKED)

    def _on_own_channel(self) -> bool:
        return make("channel", self.channel_id) in self.connection.addresses

    def _say_if_not_on_channel(self) -> None:
        if self._on_own_channel():
            return
        refused = self._kept_off
        self.refuse(Refusal.FORBIDDEN if refused is None else refusal_of(refused))
        words = decisions.sentence(refused) if refused else ""
        self.connection.send(wire.refused("channel", words or wire.NO_CHANNEL.format(self.channel_id)))

    async def _channel_refusal(self, identity: Identity) -> Verdict | None:
        """The verdict that keeps an identity off the channel that the client has named; None for none.

        Asked outside of `_moving`: the rules of all sockets wait for that.
        """
        hooks = self.hooked.subscribe
        if hooks is None or self.asked_channel != self.channel_id:
            return None
        question = asked_by(self.connection, make("channel", self.channel_id))
        question.identity = self.connection.given.identity or identity.name
        verdict = await self.worker.hooks.ask(hooks, question)
        return None if verdict.allow else verdict

    def _may_listen(self) -> bool:
        """May the socket subscribe to its channel?"""
        if self._kept_off is not None:
            return False
        if (bounds := self.identity.bounds) is not None:
            return bounds.may_subscribe(make("channel", self.channel_id))
        return self.protocol.rules.may_listen(self.visitor, self.channel_id)

    def _watch_expiry(self) -> None:
        """Have the socket end, or become the public's, when what it stands on ends."""
        if self.connection not in self.protocol.sockets_here:
            return
        visitor, connection = self.visitor, self.connection
        self.worker.grants.hold(connection, self.identity.grant, self._grant_changed)
        if visitor.jti:
            ended = partial(self.token_ended, visitor.jti, EXPIRED)
            self.worker.expiries.watch_until(connection, visitor.expires_at, ended)

    def _grant_changed(self) -> None:
        """The key of this socket gives more or less than before."""
        self.identity = Identity(grant=self.connection.grant)
        self.worker.spawn(self.obey_rules())
