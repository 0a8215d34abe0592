"""Grants: who a client is by the credential it has presented, and what that credential allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, Final

from routing_app.core.access.masking import SecretAccess
from routing_app.core.access.patterns import EVERYTHING, NOTHING, Patterns

NO_SECRETS: Final = SecretAccess()


class GrantKind(StrEnum):
    """The kind of a credential."""

    NOBODY = "nobody"
    TOKEN = "token"  # noqa: S105 - a kind of credential
    KEY = "key"
    STAFF = "staff"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one credential gives.

    `subscribe` and `publish` are the addresses that it may be used for, whatever the protocol; `scopes` are
    those of an API key, or what a member of the staff may do by Django's permissions.
    """

    kind: GrantKind = GrantKind.NOBODY
    identity: str = ""
    """For listings: `sub` of an access token, the name of a key, the name of a user."""
    issuer: str = ""
    subject: str = ""
    name: str = ""
    """`name` of an access token, for people."""
    jti: str = ""
    issued_at: float = -inf
    """Unix time of `iat`; a token without one counts as issued before any time."""
    expires_at: float = inf
    """Unix time."""
    key_id: int | None = None
    key_prefix: str = ""
    scopes: frozenset[str] = frozenset()
    addresses: Patterns = EVERYTHING
    """What the scopes are for: an API key may be limited to some addresses."""
    subscribe: Patterns = NOTHING
    publish: Patterns = NOTHING
    secrets: SecretAccess = NO_SECRETS
    session: str = field(default="", repr=False)
    """The key of a staff session, a credential."""

    @property
    def caller(self) -> str:
        """The credential among all, without a secret: for idempotency, limits and the audit log."""
        if self.kind is GrantKind.KEY:
            return f"key {self.key_id}"
        if self.kind is GrantKind.TOKEN:
            return f"token {self.issuer}/{self.subject}"
        return f"user {self.identity}" if self.kind is GrantKind.STAFF else ""

    @property
    def is_limited(self) -> bool:
        """True when its scopes are for some addresses alone."""
        return self.addresses is not EVERYTHING

    def same_rights(self, other: Grant) -> bool:
        """True for a credential of the same holder that allows the same, such as a token that follows
        another."""
        return (
            (self.kind, self.caller, self.session) == (other.kind, other.caller, other.session)
            and self.scopes == other.scopes
            and set(self.subscribe.texts) == set(other.subscribe.texts)
            and set(self.publish.texts) == set(other.publish.texts)
        )

    def as_json(self) -> dict[str, Any]:
        """The grant for another worker. JSON has no infinite time: it stands for none."""
        return {
            "kind": self.kind,
            "identity": self.identity,
            "issuer": self.issuer,
            "subject": self.subject,
            "name": self.name,
            "jti": self.jti,
            "issued_at": None if self.issued_at == -inf else self.issued_at,
            "expires_at": None if self.expires_at == inf else self.expires_at,
            "key_id": self.key_id,
            "key_prefix": self.key_prefix,
            "scopes": sorted(self.scopes),
            "subscribe": self.subscribe.texts,
            "publish": self.publish.texts,
        }

    @classmethod
    def of_json(cls, grant: dict[str, Any]) -> Grant:
        """The inverse of `as_json`, for the grant of a client: it shows no secrets, and is of no session."""
        fields = dict(grant)
        issued_at, expires_at = fields.pop("issued_at"), fields.pop("expires_at")
        return cls(
            kind=GrantKind(fields.pop("kind")),
            scopes=frozenset(fields.pop("scopes")),
            subscribe=Patterns(fields.pop("subscribe")),
            publish=Patterns(fields.pop("publish")),
            issued_at=-inf if issued_at is None else issued_at,
            expires_at=inf if expires_at is None else expires_at,
            **fields,
        )

    def may_subscribe(self, address: str) -> bool:
        """True when the credential lets its holder receive what is published to an address."""
        return self.subscribe.cover(address)

    def may_publish(self, address: str) -> bool:
        """True when the credential lets its holder publish to an address."""
        return self.publish.cover(address)


NOBODY: Final = Grant()
"""The grant of a client that has presented no credential."""
UNBOUNDED: Final = Grant(subscribe=EVERYTHING, publish=EVERYTHING)
"""The grant of such a client where a protocol is open."""
