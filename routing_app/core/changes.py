"""Kinds of rows that have changed in this process, counted: whoever shows some reads them again only then."""

from __future__ import annotations

from collections import Counter
from typing import Final


class Changes:
    """A number for each kind, which another one follows after each change."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        """Rows of a kind have changed, and are committed. For any thread: of two at once one may be lost."""
        self._counts[kind] += 1

    def of(self, kind: str) -> int:
        """How often that was."""
        return self._counts[kind]


changes: Final = Changes()
"""Those of this process."""
