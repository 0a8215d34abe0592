"""The built-in requests."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from time import time
from typing import Any, Final

from django.conf import settings

from routing_app.core.access.credentials import CredentialKind, Presented
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.masking import SecretAccess, shown_address, shown_identity
from routing_app.core.address import AddressError, make, parse
from routing_app.core.database import query
from routing_app.core.delivery.publication import Position
from routing_app.core.hooks.table import ProtocolHooks
from routing_app.core.models import ConnectionRecord, Scope
from routing_app.core.publishable import check_addresses, check_id
from routing_app.core.publishing import publish as publish_to
from routing_app.core.rate_limits.table import LimitSet, ProtocolLimits
from routing_app.core.rest.publish import MAX_MESSAGES, publish_each
from routing_app.core.streams import history as streams
from routing_app.core.streams.history import (
    MAX_LIMIT,
    USUAL_LIMIT,
    NoHistory,
    NotAPosition,
    checked_position,
)
from routing_app.core.streams.replay import Place
from routing_app.core.worker import current_worker
from routing_app.requests import access, asking
from routing_app.requests.connection import Connection
from routing_app.requests.errors import BeyondLimit, RequestDenied

MAX_LISTED: Final = 1000
"""Connections that one `presence` lists; `count` counts all."""

CREDENTIALS: Final = {"token": CredentialKind.TOKEN, "api_key": CredentialKind.KEY}
"""Fields of `authenticate`, of which one is given."""

Message = dict[str, Any]


async def publish(client: Connection, message: Message) -> Message:
    """Publish to addresses of any protocol, as `POST /api/publish`.

    Raises RequestDenied, StoreUnavailable.
    """
    await access.require(client, Scope.PUBLISH)
    await _within(client, _limits().publish)
    addresses = _addresses(message)
    access.check_covered(client.grant.may_publish, addresses)
    if "message" not in message:
        raise RequestDenied("invalid", "`message` is missing")
    try:
        id = check_id(message["id"]) if "id" in message else ""
    except ValueError as error:
        raise RequestDenied("invalid", f"`id`: {error}") from None
    content = message["message"]
    if (hooks := _hooks().publish) is not None:
        content = await asking.screened(client, hooks, addresses, content)
    outcome = await publish_to(
        addresses, content, sender=client.inner.identity, id=id, caller=client.grant.caller
    )
    return outcome.as_json()


async def publish_batch(client: Connection, message: Message) -> Message:
    """Publish several messages, as `POST /api/publish/batch`. Raises RequestDenied."""
    await access.require(client, Scope.PUBLISH)
    given = message.get("messages")
    if not isinstance(given, list):
        raise RequestDenied("invalid", "`messages` must be a list")
    if len(given) > MAX_MESSAGES:
        raise RequestDenied("too_many", f"at most {MAX_MESSAGES} messages")
    await _within(client, _limits().publish, len(given))
    screen = None if (hooks := _hooks().publish) is None else asking.screen_of(client, hooks)
    return {"results": await publish_each(given, client.grant, screen)}


async def subscribe(client: Connection, message: Message) -> tuple[Message, Callable[[], None]]:
    """Subscribe to addresses: the answer, and what to call once it is sent, so that missed messages and
    presence notices follow.

    Raises RequestDenied, LayerUnavailable, StoreUnavailable.
    """
    await access.require(client, Scope.READ)
    await _within(client, _limits().subscribe)
    addresses = _addresses(message)
    access.check_covered(client.grant.may_subscribe, addresses)
    if len(client.inner.addresses.keys() | set(addresses)) > settings.REQUESTS_MAX_SUBSCRIPTIONS:
        raise RequestDenied(
            "too_many", f"at most {settings.REQUESTS_MAX_SUBSCRIPTIONS} addresses a connection"
        )
    since, last = _positions(message, addresses), _number(message, "last", 0)
    watched = _watched(message, addresses)
    await _check_read(client, addresses)
    had = set(client.inner.addresses)
    try:
        attachment = await current_worker().streams.replays.attach(
            client.inner, addresses, since, dict.fromkeys(addresses, last)
        )
    except AddressError as error:
        raise RequestDenied("invalid", str(error)) from None
    try:
        access.check_covered(client.grant.may_subscribe, addresses)  # the key may have changed in between
        begin = await current_worker().notices.watch(client.inner, watched, lambda: client.grant.secrets)
    except BaseException:  # what it had before goes on; what its credential lost has ended by itself
        current_worker().hub.unsubscribe(client.inner, *(set(addresses) - had))
        attachment.start()
        raise
    client.record()
    answer: Message = {"addresses": list(addresses)}
    if attachment.places or since or last:
        answer["positions"] = {one: _shown_place(place) for one, place in attachment.places.items()}

    def start() -> None:
        attachment.start()
        begin()

    return answer, start


async def unsubscribe(client: Connection, message: Message) -> Message:
    """Unsubscribe from addresses. Raises RequestDenied."""
    addresses = _addresses(message)
    current_worker().hub.unsubscribe(client.inner, *addresses)
    client.record()
    return {"addresses": list(addresses)}


async def history(client: Connection, message: Message) -> Message:
    """The messages that are kept of an address, as `GET /api/history`.

    Raises RequestDenied, StoreUnavailable.
    """
    await access.require(client, Scope.READ)
    address = _address(message)
    access.check_covered(client.grant.may_subscribe, [address])
    await _check_read(client, [address])
    since = _position(message["since"], "since") if "since" in message else None
    reverse = message.get("reverse", False)
    if not isinstance(reverse, bool):
        raise RequestDenied("invalid", "`reverse` must be true or false")
    if reverse and since is not None:
        raise RequestDenied("invalid", "`reverse` does not go together with `since`")
    try:
        return await streams.read(address, since, _number(message, "limit", USUAL_LIMIT), reverse)
    except NoHistory:
        raise RequestDenied("not_found", "no history is kept of this address") from None


async def presence(client: Connection, message: Message) -> Message:
    """The connections that subscribe to an address, on every worker. Raises RequestDenied."""
    await access.require(client, Scope.READ)
    address = _address(message)
    access.check_covered(client.grant.may_subscribe, [address])
    await _check_read(client, [address])
    return await query(_presence, address, client.grant.secrets)


async def authenticate(client: Connection, message: Message) -> Message:
    """Take the grant of an access token, in `token`, or of an API key, in `api_key`: `key` is the request's
    own. Raises RequestDenied; then the client keeps the grant that it had.
    """
    given = {field: message[field] for field in CREDENTIALS if field in message}
    if len(given) != 1:
        raise RequestDenied("invalid", "`token` or `api_key` is needed")
    ((field, text),) = given.items()
    if not isinstance(text, str) or not text:
        raise RequestDenied("invalid", f"`{field}` must be a string")
    return _shown_grant(await access.present(client, Presented(CREDENTIALS[field], text)))


def whoami(client: Connection) -> Message:
    """Id, rights and subscriptions of a client."""
    return {
        "id": client.id,
        "address": make("connection", client.id),
        **_shown_grant(client.inner.grant),
        "name": client.inner.identity,
        "addresses": sorted(shown_address(client.grant.secrets, one) for one in client.inner.addresses),
        "receipts": client.receipts,
    }


async def _check_read(client: Connection, addresses: Collection[str]) -> None:
    """Ask hooks about addresses that a client wants to receive or read from. Raises RequestDenied."""
    if (hooks := _hooks().subscribe) is not None:
        await asking.check_read(client, hooks, addresses)


def _hooks() -> ProtocolHooks:
    return current_worker().hooks.of("requests")


def _limits() -> ProtocolLimits:
    return current_worker().rate_limits.of("requests")


async def _within(client: Connection, limits: LimitSet | None, cost: int = 1) -> None:
    """Count against limits, and wait if they say so. Raises BeyondLimit."""
    if limits is None or not cost:
        return
    excess = await current_worker().rate_limits.over(limits, client.inner, cost)
    if excess is not None:
        raise BeyondLimit(excess.seconds)


def _addresses(message: Message) -> tuple[str, ...]:
    given = message.get("addresses")
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise RequestDenied("invalid", "`addresses` must be a list of strings")
    try:
        return check_addresses(given)
    except AddressError as error:
        raise RequestDenied("invalid", str(error)) from None


def _address(message: Message) -> str:
    address = message.get("address")
    if not isinstance(address, str):
        raise RequestDenied("invalid", "`address` must be a string")
    try:
        return parse(address)
    except AddressError as error:
        raise RequestDenied("invalid", str(error)) from None


def _number(message: Message, field: str, otherwise: int) -> int:
    number = message.get(field, otherwise)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_LIMIT:
        raise RequestDenied("invalid", f"`{field}` must be a whole number from 0 to {MAX_LIMIT}")
    return number


def _positions(message: Message, addresses: Collection[str]) -> dict[str, Position]:
    """The positions of `since`, by address."""
    given = message.get("since", {})
    if not isinstance(given, dict):
        raise RequestDenied("invalid", "`since` must be an object of positions by address")
    if not given.keys() <= set(addresses):
        raise RequestDenied("invalid", "`since` names an address that `addresses` does not")
    return {address: _position(position, "since") for address, position in given.items()}


def _position(position: Any, field: str) -> Position:
    if not isinstance(position, dict):
        raise RequestDenied("invalid", f"`{field}`: a position is an object of `epoch` and `offset`")
    try:
        return checked_position(position.get("epoch"), position.get("offset"))
    except NotAPosition as error:
        raise RequestDenied("invalid", f"`{field}`: {error}") from None


def _watched(message: Message, addresses: Collection[str]) -> Collection[str]:
    """The addresses of which presence notices are wanted."""
    notices = message.get("notices", False)
    if not isinstance(notices, bool):
        raise RequestDenied("invalid", "`notices` must be true or false")
    if not notices:
        return ()
    if not all(map(current_worker().notices.allowed, addresses)):
        raise RequestDenied("forbidden", "the rule of an address allows no presence notices")
    return addresses


def _shown_grant(grant: Grant) -> Message:
    """`expires_in`, in seconds, since clocks differ. An access token has patterns, and no scopes."""
    shown: Message = {"name": grant.identity, "scopes": sorted(grant.scopes)}
    if grant.expires_at != inf:
        shown["expires_in"] = round(max(0.0, grant.expires_at - time()), 3)
    if grant.kind is GrantKind.TOKEN:
        shown |= {"subscribe": list(grant.subscribe.texts), "publish": list(grant.publish.texts)}
    return shown


def _shown_place(place: Place) -> Message:
    shown: Message = place.position._asdict()
    return shown if place.recovered is None else {**shown, "recovered": place.recovered}


def _presence(address: str, secrets: SecretAccess) -> Message:
    kind, _, name = address.partition(":")
    present = ConnectionRecord.objects.present()
    rows = present.filter(pk=name) if kind == "connection" else present.subscribed(address)
    listed = rows.order_by("connected_at", "id").values("id", "protocol", "identity", "connected_at")[
        :MAX_LISTED
    ]
    connections = [
        {
            **row,
            "identity": shown_identity(secrets, row["protocol"], row["identity"]),
            "connected_at": row["connected_at"].isoformat(),
        }
        for row in listed
    ]
    count = len(connections) if len(connections) < MAX_LISTED else rows.count()
    return {"connections": connections, "count": count}
