"""Patterns of addresses that a credential may be used for: an address, or a prefix with a final `*`.

`*` alone is every address. A pattern of a kind that no installed protocol has matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.core.exceptions import ValidationError

ANY: Final = "*"
MAX_LENGTH: Final = 512
MAX_PATTERNS: Final = 1000
GROUP_END: Final = "/"


def is_pattern(text: Any) -> bool:
    """True for something that `Patterns` can match: `kind:name`, `kind:prefix*`, `kind:*` or `*`."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_LENGTH or not text.isprintable():
        return False
    if text == ANY:
        return True
    prefix, _, rest = text.partition(ANY)
    kind, colon, _ = prefix.partition(":")
    return not rest and bool(kind and colon) and text != f"{kind}:"


def check_patterns(patterns: Any) -> None:
    """Raise ValidationError, with a sentence for the caller, for anything but a list of patterns."""
    if not isinstance(patterns, list):
        raise ValidationError("expected a list of patterns")
    if len(patterns) > MAX_PATTERNS:
        raise ValidationError(f"at most {MAX_PATTERNS} patterns")
    for pattern in patterns:
        if not is_pattern(pattern):
            raise ValidationError(
                "expected an address, a prefix such as `room:bus/*`, or `*`; `*` stands only at the end"
            )


class Patterns:
    """Some patterns, asked often; false where there is none."""

    __slots__ = ("exact", "prefixes", "texts")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts` are patterns that `is_pattern` has found good."""
        self.texts = tuple(texts)
        self.exact = frozenset(text for text in self.texts if not text.endswith(ANY) and not is_group(text))
        """Addresses that are covered for themselves."""
        self.prefixes = tuple(text[:-1] for text in self.texts if text.endswith(ANY))
        """Beginnings of addresses that are covered."""

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return f"Patterns({list(self.texts)!r})"

    def with_one(self, text: str) -> Patterns:
        """These patterns and one more."""
        return self if self.texts == (ANY,) else Patterns((*self.texts, text))

    def cover(self, address: str) -> bool:
        """True when one of the patterns matches an address.

        A token's group (`token:bus/`) stands for every address below it, so only a prefix covers it.
        """
        return address.startswith(self.prefixes) or address in self.exact


def is_group(address: str) -> bool:
    """True for the address of all tokens below it."""
    return address.startswith("token:") and address.endswith(GROUP_END)


EVERYTHING: Final = Patterns([ANY])
NOTHING: Final = Patterns()
