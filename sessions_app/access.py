"""The customer of a token: `customerId` and `publisherId`, signed by the publisher; and the sessions that an
operator's credential is for."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Q, Value
from django.db.models.functions import Concat

from routing_app.core.access.narrowing import covered
from routing_app.core.access.patterns import Patterns
from routing_app.core.jwt.claims import Finding, check_audience, check_times, string_problem
from routing_app.core.jwt.kinds import TokenKind
from routing_app.core.jwt.signing import CannotSign
from sessions_app.models import Publisher
from sessions_app.provisioning import customer_token
from sessions_app.publishers import KnownPublisher, publishers

SESSION: Final = "session:"
IS_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer who asks."""

    publisher: str
    id: str
    tracking_enabled: bool = True
    issued_at: float = -inf
    """`iat` of the token."""


class CustomerTokens(TokenKind[KnownPublisher, Customer]):
    """`publisherId`, `customerId` and `exp`; optional `nbf`, `iat`, `aud`, `iss`. An id may be a number."""

    label = "customer token"
    signer_option = "publisher"
    signer_claim = "publisherId"
    subject_option = "customer"
    unknown = "no publisher"

    def findings(self, claims: dict[str, Any], signer: KnownPublisher) -> Iterator[Finding]:
        """Every claim that counts."""
        yield "customerId", string_problem(as_string(claims.get("customerId")))
        yield from check_times(claims)
        yield from check_audience(claims, signer.audiences)
        issuer = claims.get("iss")
        is_listed = issuer in signer.issuers if issuer is not None or signer.issuers else True
        yield "iss", "" if is_listed else "not an issuer that the publisher lists"

    def content(self, claims: dict[str, Any], signer: KnownPublisher) -> Customer:
        """The customer."""
        return Customer(
            signer.name,
            as_string(claims["customerId"]),
            signer.tracking_enabled,
            claims.get("iat", -inf),
        )

    def signer_name(self, claims: dict[str, Any]) -> Any:
        """The publisher's."""
        return as_string(super().signer_name(claims))

    def add_arguments(self, parser: ArgumentParser) -> None:
        """None."""

    def sign(self, signer: str, seconds: int, options: dict[str, Any]) -> str:
        """A customer token. Raises CannotSign."""
        row = Publisher.objects.filter(name=signer).first()
        if row is None:
            raise CannotSign(f"there is no publisher {signer}")
        return customer_token(row, options["customer"], seconds)


def as_string(id: Any) -> Any:
    """A number as the id that it stands for; anything else as it is."""
    return str(id) if isinstance(id, int) and not isinstance(id, bool) else id


customer_tokens: Final = CustomerTokens(publishers)


async def authenticate(token: str) -> Customer:
    """The customer of a token. Raises TokenRefused, KeysUnavailable and what the database raises."""
    return await customer_tokens.verify(token)


def covered_by(addresses: Patterns, column: str) -> Q:
    """The condition that a credential's addresses cover a session or its customer; `column` has the id of the
    session. A beginning of a session's id covers nothing.
    """
    if SESSION.startswith(addresses.prefixes):
        return Q()
    customer = Concat(Value("customer:"), F("account__publisher__name"), Value("/"), F("account__customer"))
    ids = (text.removeprefix(SESSION) for text in addresses.exact if text.startswith(SESSION))
    named = Q(**{f"{column}__in": [UUID(id) for id in ids if IS_UUID.fullmatch(id)]})
    return named | covered(addresses, customer)
