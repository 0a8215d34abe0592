"""Settings of the rooms protocol that are unsafe."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from routing_app.core.unsafe import Unsafe, is_weak


def of_rooms() -> Iterator[Unsafe]:
    """Those of `POST /bus-message`."""
    if not settings.ROOMS_BUS_TOKEN:
        yield Unsafe(
            "ROOMS_BUS_TOKEN",
            "everybody may send to every room by POST /bus-message",
            "set a secret of `openssl rand -base64 48`",
        )
    elif is_weak(settings.ROOMS_BUS_TOKEN):
        yield Unsafe("ROOMS_BUS_TOKEN", "it may be guessed", "set one of `openssl rand -base64 48`")
