"""The Python client carries the server's requests-and-answers module, because it is a package of its own."""

from __future__ import annotations

import pytest

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once


def test_both_copies_of_the_pending_requests_are_one_text():
    server = REPOSITORY / "routing_app" / "requests" / "pending.py"
    client = REPOSITORY / "clients" / "python" / "switchboard_client" / "pending.py"

    assert client.read_text(encoding="utf-8") == server.read_text(encoding="utf-8")
