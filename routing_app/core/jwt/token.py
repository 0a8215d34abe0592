"""The parts of a token that can be read before its signature is checked, and the error for a bad one."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAX_TOKEN: Final = 8192
"""Characters."""


class TokenRefused(Exception):
    """A token is not accepted.

    `claim` is the part that is wrong. Both it and `why` are for the operator: a client that learned them
    could guess its way.
    """

    def __init__(self, claim: str, why: str) -> None:
        super().__init__(f"{claim}: {why}")
        self.claim = claim
        self.why = why


@dataclass(frozen=True, slots=True)
class Unverified:
    """The header and claims of a token whose signature is not checked."""

    header: dict[str, Any]
    claims: dict[str, Any]


def read(token: str) -> Unverified:
    """The two readable parts of a token, none of which is verified. Raises TokenRefused."""
    if len(token) > MAX_TOKEN:
        raise TokenRefused("token", f"longer than {MAX_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenRefused("token", "not a JWT")
    return Unverified(_json_object(parts[0]), _json_object(parts[1]))


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise TokenRefused("token", "not a JWT") from None
    if not isinstance(value, dict):
        raise TokenRefused("token", "not a JWT")
    return value
