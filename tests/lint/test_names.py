"""The core and the transport under the rooms name no protocol: what they know of one, its object says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from routing_app.core.protocol import registered
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

FOLDERS = ("routing_app/core", "routing_app/engineio", "switchboard_server")
FIELDS = {
    "models/webhooks.py": {"events"},
    "rest/webhooks.py": {"events"},
    "webhooks/admin.py": {"events"},
    "webhooks/known.py": {"events"},
}
"""Names of fields that a protocol has as well: `Webhook.events` are the events that it wants."""


def constants(path: Path) -> set[str]:
    """The strings of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_protocol_is_named(folder: str):
    names = {protocol.name for protocol in registered()}
    files = [path for path in (REPOSITORY / folder).rglob("*.py") if "migrations" not in path.parts]

    assert len(names) >= 5
    assert len(files) >= 10
    assert {str(path): found for path in files if (found := constants(path) & names - allowed(path))} == {}


def allowed(path: Path) -> set[str]:
    """The names of fields that stand in a file."""
    return FIELDS.get("/".join(path.parts[-2:]), set())
