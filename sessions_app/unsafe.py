"""Settings of the sessions protocol that are unsafe."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from routing_app.core.unsafe import Unsafe


def of_sessions() -> Iterator[Unsafe]:
    """Those of limits and of the address that players are sent to."""
    if settings.SESSIONS_FAIL_MODE == "open":
        yield Unsafe(
            "SESSIONS_FAIL_MODE",
            "no limit holds while the database is out",
            "set SESSIONS_FAIL_MODE=closed where a limit matters more than an outage",
        )
    if settings.SESSIONS_PUBLIC_URL.startswith("ws://"):
        yield Unsafe(
            "SESSIONS_PUBLIC_URL",
            "players connect without TLS, their session tokens readable on the way",
            "set a wss:// address",
        )
