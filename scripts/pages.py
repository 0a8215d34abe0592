"""Which files of the repository are pages of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = (
    "*.md",
    "docs/*.md",
    "docs/*/*.md",
    "deploy/*.md",
    "routing_app/*/*.md",
    "sessions_app/*.md",
    "clients/*/*.md",
    "examples/*/*.md",
    "tests/compliance/**/*.md",
)
"""Every page, but those that `reference.py` makes."""
NOT_PAGES: Final = {"node_modules"}


def documents() -> list[str]:
    """The paths of all pages that are files of the repository."""
    found = [file for pattern in DOCUMENTS for file in ROOT.glob(pattern)]
    return sorted(str(file.relative_to(ROOT)) for file in found if not NOT_PAGES.intersection(file.parts))
