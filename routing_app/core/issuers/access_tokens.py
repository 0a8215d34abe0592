"""Access tokens: JWTs of an issuer that say who a client is and which addresses it may use."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from math import inf
from typing import Any, Final

from django.core.exceptions import ValidationError

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import Patterns, check_patterns
from routing_app.core.issuers.known import KnownIssuer, issuers
from routing_app.core.jwt.claims import Finding, check_audience, check_times, string_problem
from routing_app.core.jwt.kinds import TokenKind
from routing_app.core.jwt.signing import CannotSign, sign
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.models import Issuer
from routing_app.core.worker import current_worker


class TokenRevoked(TokenRefused):
    """A token is good, and its subject or its `jti` is revoked."""

    def __init__(self) -> None:
        super().__init__("sub, jti", "revoked")


class AccessTokens(TokenKind[KnownIssuer, Grant]):
    """`iss`, `sub` and `exp`; optional `jti`, `name`, `subscribe`, `publish`, `nbf`, `iat`, `aud`."""

    label = "access token"
    signer_option = "issuer"
    signer_claim = "iss"
    subject_option = "sub"
    unknown = "no enabled issuer"

    def findings(self, claims: dict[str, Any], signer: KnownIssuer) -> Iterator[Finding]:
        """Every claim that counts."""
        yield from check_times(claims)
        yield from check_audience(claims, signer.audiences)
        yield "sub", string_problem(claims.get("sub"))
        for name in ("jti", "name"):
            yield name, string_problem(claims[name]) if name in claims else ""
        for name in ("subscribe", "publish"):
            yield name, _patterns_problem(claims.get(name, []))

    def content(self, claims: dict[str, Any], signer: KnownIssuer) -> Grant:
        """`expires_at` is `exp` itself, without leeway."""
        return Grant(
            kind=GrantKind.TOKEN,
            identity=claims["sub"],
            issuer=signer.name,
            subject=claims["sub"],
            name=claims.get("name", ""),
            jti=claims.get("jti", ""),
            issued_at=claims.get("iat", -inf),
            expires_at=claims["exp"],
            subscribe=Patterns(claims.get("subscribe", ())),
            publish=Patterns(claims.get("publish", ())),
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The addresses that it may be used for, and what else it may hold."""
        for name in ("subscribe", "publish"):
            words = "an address, a prefix with a final *, or *; repeatable"
            parser.add_argument(f"--{name}", action="append", metavar="PATTERN", help=words)
        parser.add_argument("--jti", help="an id, to revoke this token alone")
        parser.add_argument("--name", help="the client's name, for people")

    def sign(self, signer: str, seconds: int, options: dict[str, Any]) -> str:
        """An access token. Raises CannotSign."""
        row = Issuer.objects.filter(name=signer).first()
        if row is None:
            raise CannotSign(f"there is no issuer {signer}")
        if not row.enabled:
            raise CannotSign(f"issuer {signer} is disabled: its tokens are refused")
        optional = {name: options[name] for name in ("jti", "name", "subscribe", "publish") if options[name]}
        claims = {"iss": row.name, "sub": options["sub"], **optional}
        if row.audiences:
            claims["aud"] = row.audiences[0]
        return sign(claims, seconds, row)


def _patterns_problem(patterns: Any) -> str:
    try:
        check_patterns(patterns)
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


access_tokens: Final = AccessTokens(issuers)


async def verify(token: str) -> Grant:
    """The grant of an access token.

    `expires_at` is the token's `exp`, without leeway: a connection may go on until TOKEN_LEEWAY_SECONDS
    later, and no longer. Raises TokenRefused (TokenRevoked for one that is taken back), KeysUnavailable (try
    again later) and what the database raises.
    """
    grant = await access_tokens.verify(token)
    if await current_worker().revocations.concern_grant(grant):
        raise TokenRevoked
    return grant
