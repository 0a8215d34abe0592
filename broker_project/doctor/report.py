"""What all checks have found, as lines and as JSON; it needs neither Django nor settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from broker_project.doctor.finding import Bound, Finding, Status, error

EXIT_CODES: Final = {Status.OK: 0, Status.WARNING: 1, Status.ERROR: 2}


@dataclass
class Report:
    """What was found, and how many connections this machine will hold by each bound, the lowest first."""

    findings: list[Finding] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: all well; 1: warnings; 2: errors."""
        return max((EXIT_CODES[finding.status] for finding in self.findings), default=0)

    @property
    def json(self) -> str:
        """One object: `checks`, each with `name`, `status`, `message` and `advice`; `connections`, with
        `limit` and `bound_by`."""
        lowest = self.bounds[0]
        return json.dumps(
            {
                "checks": [
                    {"name": one.name, "status": one.status, "message": one.message, "advice": one.advice}
                    for one in self.findings
                ],
                "connections": {"limit": lowest.limit, "bound_by": lowest.name},
            }
        )

    @property
    def lines(self) -> str:
        """A line for each finding, and one for each bound."""
        return "\n".join(
            [
                *map(_line, self.findings),
                "",
                "Idle connections that this machine will hold, by each bound:",
                *map(_bound, self.bounds),
            ]
        )


def unreadable(problem: str) -> Report:
    """The report where the settings cannot be read: nothing else can be checked."""
    found = error("settings", problem, "correct it; the server does not start")
    return Report([found], [Bound("settings", 0)])


def _line(finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{finding.status:8} {finding.name}: {finding.message}{advice}"


def _bound(bound: Bound) -> str:
    return f"{bound.limit:12,}  {bound.name}"
