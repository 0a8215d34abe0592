"""Tokens signed here, for operators and tests; in production a signer's own login makes them."""

from __future__ import annotations

from time import time
from typing import Any

import jwt

from routing_app.core.jwt.algorithms import KeyKind


class CannotSign(Exception):
    """There is nothing to sign with; the message is for the operator."""


def sign(claims: dict[str, Any], seconds: int, signer: Any) -> str:
    """A token with these claims, `iat` and `exp`, signed with the newest active secret of a row that has
    `keys`. Raises CannotSign."""
    key = signer.keys.filter(kind=KeyKind.SECRET, active=True).first()
    if key is None:
        has_others = signer.keys.filter(active=True).exists()
        why = "; with a public key signatures are checked, not made" if has_others else ""
        raise CannotSign(f"{signer} has no active shared secret to sign with{why}")
    now = int(time())
    headers = {"kid": key.kid} if key.kid else None
    return jwt.encode({**claims, "iat": now, "exp": now + seconds}, key.material, key.algorithm, headers)
