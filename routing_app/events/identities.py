"""Identities of sockets: a user by a login token, the holder of an access token or an API key, the public."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from routing_app.core.access import credentials as core_credentials
from routing_app.core.access.admission import Refused
from routing_app.core.access.bearer import MAX_CREDENTIALS, possible_tokens
from routing_app.core.access.credentials import CredentialKind, Presented
from routing_app.core.access.grants import NOBODY, Grant
from routing_app.core.codes import REVOKED, UNAUTHENTICATED, Refusal
from routing_app.core.database import query
from routing_app.core.worker import Worker
from routing_app.events import credentials
from routing_app.events.walker_context import PUBLIC, Visitor
from routing_app.events.wire import bare_token

NAME: Final = "events"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user with the rights that settings and rows give, or a holder with those of a grant."""

    visitor: Visitor = PUBLIC
    grant: Grant = NOBODY

    @property
    def name(self) -> str:
        """For listings: the root id, or what the grant names."""
        return self.grant.identity or self.visitor.root_id

    @property
    def bounds(self) -> Grant | None:
        """The grant that says what the socket may do; None where settings and rows do."""
        is_bound = core_credentials.needs_credential(NAME) and not self.visitor.authenticated
        return self.grant if is_bound else None


ANYBODY: Final = Identity()


async def of_handshake(worker: Worker, scope: Mapping[str, Any]) -> Identity:
    """The identity that a handshake brings.

    A missing, wrong or expired token in `Authorization` or `?auth=` makes it the public, without an error, as
    in the original. Raises Refused for a bad `?access_token=`, `?key=` or `X-API-Key`, for the public where a
    credential is needed, and while one cannot be checked.
    """
    values = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    presented = core_credentials.of_query_string(scope["query_string"])
    if presented is None and (key := [value for name, value in values if name == b"x-api-key"]):
        presented = Presented(CredentialKind.KEY, key[-1])
    grant = NOBODY if presented is None else await core_credentials.verify(worker, NAME, presented)
    headers = [value for name, value in values if name == b"authorization"]
    tokens = [token for header in headers for token in possible_tokens(header)][:MAX_CREDENTIALS]
    identity = await of_tokens(worker, *tokens, *asked.get("auth", [])[-1:])
    if identity == ANYBODY:
        identity = Identity(grant=grant)
    if identity == ANYBODY and core_credentials.needs_credential(NAME):
        raise Refused(UNAUTHENTICATED)
    return identity


async def of_tokens(worker: Worker, *tokens: str) -> Identity:
    """The identity of the first valid token: a proxy's own may stand before a client's. ANYBODY without one.

    Raises Refused for one that is revoked, and while one cannot be checked.
    """
    bare = [token for token in map(bare_token, tokens) if token]
    for token in bare:
        if visitor := await query(credentials.check, token):
            if worker.revocations and await worker.revocations.concern(credentials.carried(visitor)):
                raise Refused(REVOKED, Refusal.REVOKED)
            return Identity(visitor)
    for token in bare:
        try:
            presented = core_credentials.of_either_kind(token)
            return Identity(grant=await core_credentials.verify(worker, NAME, presented))
        except Refused as refused:
            if refused.reason in (Refusal.UNAVAILABLE, Refusal.REVOKED):
                raise
    return ANYBODY
