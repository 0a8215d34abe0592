"""Where a project has put the paths of the broker: below which prefix, and which views are the broker's.

A project has other paths as well, which may look like these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.urls import ResolverMatch, URLPattern, URLResolver


class Mount:
    """The one place of the broker in this process."""

    def __init__(self) -> None:
        self.prefix = ""
        self.views: frozenset[Callable[..., Any]] = frozenset()


_mount = Mount()


def place(prefix: str, patterns: Iterable[URLPattern | URLResolver]) -> None:
    """These patterns stand below a prefix: "", or `/words` without a slash at its end."""
    _mount.prefix = prefix
    _mount.views = frozenset(_views(patterns))


def prefix() -> str:
    """The prefix: "", or `/words`."""
    return _mount.prefix


def below(path: str) -> str | None:
    """The path of a request below the prefix: `/api/x` for `/words/api/x`; None for one that is outside."""
    if not _mount.prefix:
        return path
    return path.removeprefix(_mount.prefix) if path.startswith(f"{_mount.prefix}/") else None


def owns(match: ResolverMatch | None) -> bool:
    """Whether a view is the broker's."""
    return match is not None and match.func in _mount.views


def _views(patterns: Iterable[URLPattern | URLResolver]) -> Iterable[Callable[..., Any]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        else:
            yield pattern.callback
