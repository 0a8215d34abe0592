"""Rights of a client: its grant, by an access token, an API key or a staff session, as long as that holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Any, Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

from routing_app.core.access import credentials, hosts, origin, standing
from routing_app.core.access.admission import Refused
from routing_app.core.access.credentials import CredentialKind, Presented
from routing_app.core.access.grants import NOBODY, Grant, GrantKind
from routing_app.core.address import make
from routing_app.core.codes import EXPIRED, UNAUTHENTICATED, UNAVAILABLE, Refusal
from routing_app.core.database import query
from routing_app.core.hooks.refusing import is_sent_away
from routing_app.core.models import Scope
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import Worker, current_worker
from routing_app.requests.connection import Connection
from routing_app.requests.errors import RequestDenied

NAME: Final = "requests"
WRONG: Final = {
    CredentialKind.TOKEN: "the access token is not valid",
    CredentialKind.KEY: "API key is wrong or revoked",
}
LATER: Final = "the credential cannot be checked now; try again"


async def grant_of(worker: Worker, scope: Mapping[str, Any]) -> Grant:
    """The grant that a handshake brings: of a credential, of a staff session of the server's own pages, or
    nobody's.

    Raises Refused for a bad credential, for none where one is needed, and while it cannot be checked.
    """
    if (presented := credentials.of_scope(scope)) is not None:
        return await credentials.verify(worker, NAME, presented)
    if grant := await _of_session(scope):
        return grant
    if credentials.needs_credential(NAME):
        raise Refused(UNAUTHENTICATED)
    return NOBODY


async def _of_session(scope: Mapping[str, Any]) -> Grant | None:
    """A cookie counts only for pages of the server's own host, whatever REQUESTS_ORIGINS admits."""
    request = ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())
    page = request.headers.get("origin")
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if not session or page is None or not origin.allowed(page, hosts.own(scope), ["self"]):
        return None
    try:
        return await query(standing.staff_grant, session)
    except BACKING_SERVICES:
        raise Refused(UNAVAILABLE, Refusal.UNAVAILABLE) from None


async def present(client: Connection, presented: Presented) -> Grant:
    """Have a client hold the grant of another credential. Raises RequestDenied; then it keeps what it had."""
    try:
        grant = await credentials.verify(current_worker(), NAME, presented)
    except Refused as refused:
        if refused.reason is Refusal.UNAVAILABLE:
            raise RequestDenied("unavailable", LATER) from None
        raise RequestDenied("unauthenticated", WRONG[presented.kind]) from None
    hold(client, grant)
    current_worker().revocations.look_at(client.inner)
    _changed(client)
    return grant


def hold(client: Connection, grant: Grant) -> None:
    """Have a client hold a grant until that ends."""
    current_worker().grants.hold(client.inner, grant, partial(_changed, client))
    _know(client)


def _changed(client: Connection) -> None:
    """End the subscriptions that the client's grant does not cover, now that it is another one."""
    _know(client)
    given = client.inner.given.addresses
    lost = [
        address
        for address in client.inner.addresses
        if not client.grant.may_subscribe(address) and address not in given
    ]
    current_worker().hub.unsubscribe(client.inner, *lost)
    client.record()


def _know(client: Connection) -> None:
    grant, given = client.inner.grant, client.inner.given
    client.inner.identity = given.identity or grant.identity
    subscribe = grant.subscribe
    for address in given.addresses:
        subscribe = subscribe.with_one(address)
    if grant.kind is GrantKind.NOBODY:
        client.grant = replace(grant, subscribe=subscribe) if given.addresses else grant
        return
    own = make("connection", client.id)
    client.grant = replace(grant, subscribe=subscribe.with_one(own), publish=grant.publish.with_one(own))


async def require(client: Connection, scope: Scope) -> None:
    """Raise RequestDenied unless the client has a right, at some addresses at least.

    Raises ConnectionClosed for a client that was sent away while the database was asked.
    """
    grant = await _current(client)
    if grant.kind is GrantKind.NOBODY:
        raise RequestDenied("unauthenticated", "an API key or an access token is needed")
    if grant.kind is not GrantKind.TOKEN and scope not in grant.scopes:
        raise RequestDenied("forbidden", f"the scope {scope.value} is needed")


async def _current(client: Connection) -> Grant:
    """The grant of a client as it is now.

    A browser that has logged out ends its session without a word to this process, so every request asks.
    """
    while (grant := client.inner.grant).session:
        now = (await query(standing.current, {grant})).get(grant)
        if is_sent_away(client.inner):
            raise client.failure()
        if client.inner.grant is not grant:
            continue  # it has presented something else meanwhile, or was found to have other rights
        if now is None:
            client.inner.close(EXPIRED)
            raise RequestDenied("unauthenticated", "the staff session has ended")
        if now != grant and not client.is_closed:  # nobody would let go of what one holds that has left
            hold(client, now)
            _changed(client)
        return now
    return grant


def check_covered(may: Callable[[str], bool], addresses: Iterable[str]) -> None:
    """Raise RequestDenied for an address for which `may`, of a grant, is false."""
    for address in addresses:
        if not may(address):
            raise RequestDenied("forbidden", f"the credential does not allow {address}")
