"""Settings of the events protocol that are unsafe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.conf import settings

from routing_app.core.unsafe import Unsafe, is_weak

SENDING: Final = {
    "EVENTS_SEND_TO_USERS": "to every user",
    "EVENTS_SEND_TO_CLIENTS": "to every client whose id it knows",
    "EVENTS_SEND_TO_CHANNELS": "to every channel without rules of its own",
}


def of_events() -> Iterator[Unsafe]:
    """Those of accounts, of login tokens and of events to others."""
    if is_weak(settings.EVENTS_TOKEN_SECRET):
        yield Unsafe(
            "EVENTS_TOKEN_SECRET",
            "it may be guessed, and with it login tokens of every user are forged",
            "set one of `openssl rand -base64 48`",
        )
    if settings.EVENTS_REGISTER:
        yield Unsafe(
            "EVENTS_REGISTER",
            "everybody may register a user",
            "set EVENTS_REGISTER=no where operators make the users",
        )
    for name, whom in SENDING.items():
        if getattr(settings, name) == "everyone":
            yield Unsafe(
                name,
                f"clients that have not logged in may send {whom}",
                f"set {name}=authenticated",
            )
