"""promtool, which checks and tries rules of Prometheus."""

from __future__ import annotations

import shutil


def find_promtool() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("promtool")
