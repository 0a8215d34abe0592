"""The core and the transport under the rooms name no protocol: what they know of one, its object says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from routing_app.core.protocol import registered
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

FOLDERS = ("routing_app/core", "routing_app/engineio", "switchboard_server")


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
    assert {path.name: constants(path) & names for path in files if constants(path) & names} == {}
