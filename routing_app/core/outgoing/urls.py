"""URLs that calls may go to."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError

from routing_app.core.outgoing.failures import AddressRefused, Unreachable
from routing_app.core.outgoing.names import addresses_within

MAX_URL: Final = 2048
LOOKUP_SECONDS: Final = 3.0
"""Longest wait for a name when a URL is saved; when it is called, it is looked up again."""


def check_url(url: Any) -> None:
    """Raise ValidationError for anything but an absolute URL of HTTP, without a user or a password."""
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
        raise ValidationError(f"expected a URL of at most {MAX_URL} characters")
    if not url.isprintable() or any(character in url for character in ' \\<>"`{}|^'):
        raise ValidationError('a URL has no blanks or control characters, nor any of \\ < > " ` { } | ^')
    parts = _split(url)
    if parts.scheme not in {"http", "https"}:
        raise ValidationError("expected a URL that begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValidationError("a URL with a user or password would be shown: use a header")
    if "%" in parts.netloc:
        raise ValidationError("the host of the URL has no zone and no escapes")
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise ValidationError("the host of the URL is not a name") from None


def refusal_of(url: Any) -> str:
    """A sentence where a good URL leads to an address that is not of the internet, else an empty string.

    It waits for the name, LOOKUP_SECONDS at most: not to be called in a transaction. A name that does not
    resolve now may do so later, and is checked then.
    """
    try:
        check_url(url)
        addresses_within(_split(url).hostname or "", LOOKUP_SECONDS, private=False)
    except AddressRefused as refused:
        return f"{refused}; WEBHOOKS_PRIVATE=yes would allow it"
    except (ValidationError, Unreachable):
        return ""
    return ""


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise ValidationError("expected a URL such as https://example.com/path") from None
    return parts
