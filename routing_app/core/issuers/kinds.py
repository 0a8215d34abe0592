"""Every kind of token that is known here."""

from __future__ import annotations

from typing import Any

from routing_app.core.issuers.access_tokens import access_tokens
from routing_app.core.jwt.kinds import TokenKind
from routing_app.core.protocol import registered


def token_kinds() -> tuple[TokenKind[Any, Any], ...]:
    """Kinds of the installed protocols, then access tokens: a customer token may have an `iss`, too."""
    own = [protocol.token_kind for protocol in registered() if protocol.token_kind is not None]
    return (*own, access_tokens)
