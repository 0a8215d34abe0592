"""Settings of the tokens protocol that are unsafe."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from routing_app.core.unsafe import Unsafe


def of_tokens() -> Iterator[Unsafe]:
    """Those of the form API and of broadcasts."""
    if settings.TOKENS_API_OPEN:
        yield Unsafe(
            "TOKENS_API_OPEN",
            "everybody registers tokens, lists clients and broadcasts at /",
            "set TOKENS_API_OPEN=no, and give callers of the form API a key",
        )
    unknown = settings.ACCESS.get("tokens") == "open" and settings.TOKENS_ALLOW_UNREGISTERED
    if unknown and settings.TOKENS_BROADCAST == "everyone":
        yield Unsafe(
            "TOKENS_BROADCAST",
            "every client may send to every token",
            "set TOKENS_BROADCAST=registered or none, or TOKENS_ALLOW_UNREGISTERED=no",
        )
