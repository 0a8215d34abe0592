"""One line of a history, as short as it can be written."""

from __future__ import annotations

from typing import Any

Line = tuple[Any, ...]
"""Time, who, what, and fields as pairs in a dict."""
Cases = dict[str, tuple[set[str], tuple[Line, ...]]]
"""The promises that a history breaks, and its lines, by its name."""

AT = {"address": "A"}
QUIET: Line = (99, "nemesis", "quiet")
