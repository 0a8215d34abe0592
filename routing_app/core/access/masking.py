"""Secrets in listings and messages: whole for callers that may change what they let in, masked for others.

A protocol says in `secret_permission` that the identities of its connections, and names in its secret kinds
of address, let a client in. A key with the scope `manage` sees them whole, and so does a user with that
Django permission.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from routing_app.core import address
from routing_app.core.models import Scope
from routing_app.core.protocol import find, registered


@dataclass(frozen=True, slots=True)
class SecretAccess:
    """The secrets that a caller sees whole: all of them, or those of some Django permissions."""

    everything: bool = False
    permissions: frozenset[str] = frozenset()

    def covers(self, permission: str) -> bool:
        """True when a secret of this permission is shown whole; an empty permission is of no known
        protocol."""
        return self.everything or permission in self.permissions


def of_scopes(scopes: Iterable[str]) -> SecretAccess:
    """The access of an API key."""
    return SecretAccess(everything=Scope.MANAGE in scopes)


def of_user(user: Any) -> SecretAccess:
    """The access of a user of Django. Uses the ORM."""
    named = {protocol.secret_permission for protocol in registered()} - {""}
    return SecretAccess(permissions=frozenset(filter(user.has_perm, named)))


def mask(secret: str) -> str:
    """Two first characters and the length: enough to recognise, too little to use."""
    return f"{secret[:2]}… ({len(secret)})" if secret else ""


def shown_identity(access: SecretAccess, protocol: str, identity: str) -> str:
    """An identity for a listing."""
    return mask(identity) if hides_identities(access, protocol) else identity


def hides_identities(access: SecretAccess, protocol: str) -> bool:
    """True when identities of a protocol are masked for this caller."""
    owner = find(protocol)
    return owner is not None and bool(owner.secret_permission) and not access.covers(owner.secret_permission)


def shown_address(access: SecretAccess, text: str) -> str:
    """An address for a listing; the name of an unknown kind counts as a secret."""
    kind, colon, name = text.partition(":")
    if not colon or not address.is_secret(kind):
        return text
    # A kind of no protocol has the permission "", which only `everything` covers.
    owners = (protocol.secret_permission for protocol in registered() if kind in protocol.addresses)
    return text if access.covers(next(owners, "")) else f"{kind}:{mask(name)}"
