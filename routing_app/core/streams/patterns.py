"""Patterns of addresses: an address, or a prefix of some with a final `*`; `*` alone is every address."""

from __future__ import annotations

from typing import Final

from django.core.exceptions import ValidationError

from routing_app.core.address import AddressError, has_history, parse

ANY: Final = "*"


def check_pattern(pattern: str) -> None:
    """Raise ValidationError for a pattern that no address with a history can match."""
    if pattern == ANY:
        return
    prefix, star, rest = pattern.partition(ANY)
    if rest:
        raise ValidationError("`*` may only stand once, at the end of a pattern")
    kind, colon, _ = prefix.partition(":")
    if not colon:
        raise ValidationError("expected an address, a prefix such as `room:bus/*`, or `*`")
    if not has_history(kind):
        raise ValidationError("no history is kept of addresses of this kind")
    if not pattern.isprintable():
        raise ValidationError("an address holds no control characters")
    if not star:
        _check_address(pattern)


def _check_address(text: str) -> None:
    try:
        address = parse(text)
    except AddressError as error:
        raise ValidationError(str(error)) from None
    if address != text:
        raise ValidationError(f"this address is written {address}")
