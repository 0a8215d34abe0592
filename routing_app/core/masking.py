"""Credentials, made unreadable for lists and messages."""

from __future__ import annotations


def mask(secret: str) -> str:
    """Two first characters and the length: enough to recognise, too little to use."""
    return f"{secret[:2]}… ({len(secret)})" if secret else ""
