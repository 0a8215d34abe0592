"""The built-in requests, and the end of rights that are held no longer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Final

from django.conf import settings

from routing_app.core.access.masking import SecretAccess, shown_address, shown_identity
from routing_app.core.address import AddressError, make, parse
from routing_app.core.codes import EXPIRED
from routing_app.core.database import query
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Position
from routing_app.core.models import ConnectionRecord, Scope
from routing_app.core.publishing import check_addresses, check_id
from routing_app.core.publishing import publish as publish_to
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
from routing_app.core.worker import Worker, current_worker
from routing_app.requests import access
from routing_app.requests.connection import Connection
from routing_app.requests.errors import RequestDenied

logger = logging.getLogger(__name__)

MAX_LISTED: Final = 1000
"""Connections that one `presence` lists; `count` counts all."""

Message = dict[str, Any]


async def publish(client: Connection, message: Message) -> Message:
    """Publish to addresses of any protocol, as `POST /api/publish`.

    Raises RequestDenied, StoreUnavailable.
    """
    await _require(client, Scope.PUBLISH)
    addresses = _addresses(message)
    if "message" not in message:
        raise RequestDenied("invalid", "`message` is missing")
    try:
        id = check_id(message["id"]) if "id" in message else ""
    except ValueError as error:
        raise RequestDenied("invalid", f"`id`: {error}") from None
    outcome = await publish_to(
        addresses, message["message"], sender=client.rights.name, id=id, caller=client.rights.caller
    )
    return outcome.as_json()


async def publish_batch(client: Connection, message: Message) -> Message:
    """Publish several messages, as `POST /api/publish/batch`. Raises RequestDenied."""
    await _require(client, Scope.PUBLISH)
    given = message.get("messages")
    if not isinstance(given, list):
        raise RequestDenied("invalid", "`messages` must be a list")
    if len(given) > MAX_MESSAGES:
        raise RequestDenied("too_many", f"at most {MAX_MESSAGES} messages")
    return {"results": await publish_each(given, client.rights.name, client.rights.caller)}


async def subscribe(client: Connection, message: Message) -> tuple[Message, Callable[[], None]]:
    """Subscribe to addresses: the answer, and what to call once it is sent, so that missed messages and
    presence notices follow.

    Raises RequestDenied, LayerUnavailable, StoreUnavailable.
    """
    await _require(client, Scope.READ)
    addresses = _addresses(message)
    if len(client.inner.addresses.keys() | set(addresses)) > settings.REQUESTS_MAX_SUBSCRIPTIONS:
        raise RequestDenied(
            "too_many", f"at most {settings.REQUESTS_MAX_SUBSCRIPTIONS} addresses a connection"
        )
    since, last = _positions(message, addresses), _number(message, "last", 0)
    watched = _watched(message, addresses)
    try:
        attachment = await current_worker().streams.replays.attach(
            client.inner, addresses, since, dict.fromkeys(addresses, last)
        )
    except AddressError as error:
        raise RequestDenied("invalid", str(error)) from None
    client.record()
    answer: Message = {"addresses": list(addresses)}
    if attachment.places or since or last:
        answer["positions"] = {one: _shown_place(place) for one, place in attachment.places.items()}
    begin = await current_worker().notices.watch(client.inner, watched, lambda: client.rights.secrets)

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
    await _require(client, Scope.READ)
    address = _address(message)
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
    await _require(client, Scope.READ)
    return await query(_presence, _address(message), client.rights.secrets)


async def authenticate(client: Connection, message: Message) -> Message:
    """Take the rights of an API key, in `api_key`: `key` is the request's own. Raises RequestDenied."""
    plain = message.get("api_key")
    if not isinstance(plain, str) or not plain:
        raise RequestDenied("invalid", "`api_key` must be a string")
    client.rights = await access.rights_by_key(plain)
    client.inner.identity = client.rights.name
    client.record()
    return {"name": client.rights.name, "scopes": sorted(client.rights.scopes)}


def whoami(client: Connection) -> Message:
    """Id, rights and subscriptions of a client."""
    return {
        "id": client.id,
        "address": make("connection", client.id),
        "name": client.rights.name,
        "scopes": sorted(client.rights.scopes),
        "addresses": sorted(shown_address(client.rights.secrets, one) for one in client.inner.addresses),
        "receipts": client.receipts,
    }


async def _require(client: Connection, scope: Scope) -> None:
    """Raise RequestDenied unless the client has a right, by a key or a staff session that goes on.

    A browser that has logged out ends its session without a word to this process, so every request asks.
    """
    client.rights.require(scope)
    if client.rights.session and not await query(access.still_valid, {client.rights}):
        client.rights = access.NOBODY
        client.inner.close(EXPIRED)
        raise RequestDenied("unauthenticated", "the staff session has ended")


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


# --- rights that end -------------------------------------------------------------------------------------


async def watch(worker: Worker) -> None:
    """Take rights away that are held no longer, until the worker stops."""
    while True:
        await access.pause()
        try:
            await recheck(worker)
        except Exception as error:
            logger.warning("requests: rights cannot be checked: %s", type(error).__name__)


async def recheck(worker: Worker) -> None:
    """End connections whose key or staff session is not valid any more; bring the others up to date."""
    here: dict[str, Connection] = worker.protocols["requests"].connections
    clients = [client for client in here.values() if client.rights.name]
    if not clients:
        return
    valid = await query(access.still_valid, {client.rights for client in clients})
    for client in clients:
        now = valid.get(client.rights)
        if now is None:
            client.inner.close(EXPIRED)
        elif now != client.rights:
            client.rights = now
            if Scope.READ not in now.scopes and client.inner.state is ConnectionState.OPEN:
                worker.hub.unsubscribe(client.inner, *tuple(client.inner.addresses))
                client.record()
