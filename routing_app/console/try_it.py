"""The page "Try it": the panels of the installed protocols, and the ends of connections in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from routing_app.core.codes import CLOSES
from routing_app.core.protocol import Protocol, registered

FIRST_MINUTE: Final = frozenset({"requests", "tokens"})
"""Protocols that the guided first minute needs."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The panel of one protocol; `data` is a JSON string."""

    name: str
    label: str
    template: str
    data: str


def context() -> dict[str, Any]:
    """Of the template `console/try.html`."""
    panels = [_panel(protocol) for protocol in registered() if protocol.console_panel]
    return {
        "panels": panels,
        "first_minute": {panel.name for panel in panels} >= FIRST_MINUTE,
        "closes": json.dumps(
            [
                {"code": close.code, "name": close.name, "reason": close.reason, "advice": close.advice}
                for close in CLOSES
            ]
        ),
    }


def _panel(protocol: type[Protocol]) -> Panel:
    label = protocol.label or protocol.name
    return Panel(protocol.name, label, protocol.console_panel, json.dumps(dict(protocol.console_data())))
