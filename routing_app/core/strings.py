"""Strings that can be stored and shown."""

from __future__ import annotations


def is_clean(string: str) -> bool:
    """Whether a string can be stored and shown: no control characters, no half of a surrogate pair."""
    return not any(
        character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"
        for character in string
    )
