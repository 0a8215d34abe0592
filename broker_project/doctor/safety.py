"""Settings that are unsafe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from broker_project.doctor.finding import Finding, ok, warning
from routing_app.core.unsafe import Unsafe


def judge(found: Iterable[Unsafe]) -> Iterator[Finding]:
    """A warning for each: it may be meant."""
    warnings = [warning(f"setting {one.name}", one.why, one.advice) for one in found]
    yield from warnings or [ok("settings", "none is known to be unsafe")]
