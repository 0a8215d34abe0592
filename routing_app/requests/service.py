"""The built-in requests, and the end of rights that are held no longer."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.conf import settings

from routing_app.core.access.masking import SecretAccess, shown_address, shown_identity
from routing_app.core.address import AddressError, make, parse
from routing_app.core.codes import EXPIRED
from routing_app.core.database import query
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.models import ConnectionRecord, Scope
from routing_app.core.publishing import check_addresses
from routing_app.core.publishing import publish as publish_to
from routing_app.core.worker import Worker, current_worker
from routing_app.requests import access
from routing_app.requests.connection import Connection
from routing_app.requests.errors import RequestDenied

logger = logging.getLogger(__name__)

MAX_LISTED: Final = 1000
"""Connections that one `presence` lists; `count` counts all."""

Message = dict[str, Any]


async def publish(client: Connection, message: Message) -> Message:
    """Publish to addresses of any protocol, as `POST /api/publish`. Raises RequestDenied."""
    await _require(client, Scope.PUBLISH)
    addresses = _addresses(message)
    if "message" not in message:
        raise RequestDenied("invalid", "`message` is missing")
    outcome = await publish_to(addresses, message["message"], sender=client.rights.name)
    return outcome.as_json()


async def subscribe(client: Connection, message: Message) -> Message:
    """Subscribe to addresses. Raises RequestDenied, or LayerUnavailable."""
    await _require(client, Scope.READ)
    addresses = _addresses(message)
    if len(client.inner.addresses.keys() | set(addresses)) > settings.REQUESTS_MAX_SUBSCRIPTIONS:
        raise RequestDenied(
            "too_many", f"at most {settings.REQUESTS_MAX_SUBSCRIPTIONS} addresses a connection"
        )
    try:
        await current_worker().hub.subscribe(client.inner, *addresses)
    except AddressError as error:
        raise RequestDenied("invalid", str(error)) from None
    client.record()
    return {"addresses": list(addresses)}


async def unsubscribe(client: Connection, message: Message) -> Message:
    """Unsubscribe from addresses. Raises RequestDenied."""
    addresses = _addresses(message)
    current_worker().hub.unsubscribe(client.inner, *addresses)
    client.record()
    return {"addresses": list(addresses)}


async def presence(client: Connection, message: Message) -> Message:
    """The connections that subscribe to an address, on every worker. Raises RequestDenied."""
    await _require(client, Scope.READ)
    address = message.get("address")
    if not isinstance(address, str):
        raise RequestDenied("invalid", "`address` must be a string")
    try:
        parse(address)
    except AddressError as error:
        raise RequestDenied("invalid", str(error)) from None
    return await query(_presence, address, client.rights.secrets)


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
