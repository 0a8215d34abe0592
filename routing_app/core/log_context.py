"""The connection that this code serves, for its log lines."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

CONNECTION: Final[ContextVar[str]] = ContextVar("connection", default="")
"""The id; "" where no connection is served. Threads that work for it have it, too."""
