"""The request of a reader: what it wants, and what its page may be told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from rest_framework.exceptions import ValidationError

from routing_app.core.access import cors
from routing_app.core.address import AddressError
from routing_app.core.delivery.publication import Position
from routing_app.core.publishable import check_addresses
from routing_app.core.streams.history import last_of
from routing_app.stream import wire

METHOD: Final = "GET"
MAX_ADDRESSES: Final = 100
"""Addresses of one stream; each is a part of every id."""
NOWHERE: Final = Position("-", 0)
"""A position in no stream: what follows it cannot be had."""
HEADERS: Final = "Authorization, Cache-Control, Last-Event-ID, X-API-Key"
"""Headers that a page may set."""
PREFLIGHT_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Wanted:
    """The addresses of a stream, and where it begins."""

    addresses: tuple[str, ...]
    last: int = 0
    since: dict[str, Position] = field(default_factory=dict)
    """For all of them, if the reader comes back."""


def wanted(request: ASGIRequest, more: Iterable[str] = ()) -> Wanted:
    """What a request asks for, and `more` addresses that its reader gets besides. Raises ValidationError."""
    named = request.GET.getlist("address")
    if not named:
        raise ValidationError({"address": ["This parameter is required."]})
    if len(named) > MAX_ADDRESSES:
        raise ValidationError({"address": [f"at most {MAX_ADDRESSES} addresses"]})
    try:
        addresses = tuple(dict.fromkeys((*check_addresses(named), *more)))
    except AddressError as error:
        raise ValidationError({"address": [str(error)]}) from None
    try:
        last = last_of(request.GET.get("last", "0"))
    except ValueError as error:
        raise ValidationError({"last": [str(error)]}) from None
    # The header first: EventSource asks with the same URL again, and with the newest id that it has.
    id = request.headers.get("Last-Event-ID") or request.GET.get("last_event_id")
    return Wanted(addresses, last, _since(addresses, id) if id else {})


def _since(addresses: tuple[str, ...], id: str) -> dict[str, Position]:
    """The position of each address; an id that makes no sense has none of them."""
    try:
        known = wire.decode(id)
    except wire.NotAnId:
        known = {}
    return {address: known.get(wire.hash_of(address), NOWHERE) for address in addresses}


def is_preflight(request: ASGIRequest) -> bool:
    """True where a browser asks for a page of another site whether that may send its headers."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def readable_by(request: ASGIRequest) -> cors.Headers:
    """Headers of every answer to a page whose origin was admitted."""
    caller = request.headers.get("Origin")
    if "*" in settings.ORIGINS["stream"]:
        return cors.readable_by("*")
    return {"Vary": "Origin"} | ({} if caller is None else cors.readable_by(caller))


def preflight() -> cors.Headers:
    """Headers of the answer to a preflight, beside those of every answer."""
    return cors.preflight(METHOD, HEADERS, PREFLIGHT_SECONDS)


def is_returning(request: ASGIRequest) -> bool:
    """True for an EventSource that comes back: any status but 200 makes it give up for good."""
    return bool(request.headers.get("Last-Event-ID")) and request.headers.get("Accept") == "text/event-stream"
