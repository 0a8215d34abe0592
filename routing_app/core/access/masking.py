"""Credentials, made unreadable for lists and messages."""

from __future__ import annotations

from routing_app.core import address
from routing_app.core.protocol import find


def mask(secret: str) -> str:
    """Two first characters and the length: enough to recognise, too little to use."""
    return f"{secret[:2]}… ({len(secret)})" if secret else ""


def shown_identity(protocol: str, identity: str) -> str:
    """An identity for a listing, masked where it lets somebody in."""
    owner = find(protocol)
    return mask(identity) if owner is not None and owner.identity_is_secret else identity


def shown_address(text: str) -> str:
    """An address for a listing, its name masked where it lets somebody in."""
    kind, colon, name = text.partition(":")
    return f"{kind}:{mask(name)}" if colon and address.is_secret(kind) else text
