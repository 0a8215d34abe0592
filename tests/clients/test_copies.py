"""The Python client carries two modules of the requests protocol, because it is a package of its own."""

from __future__ import annotations

import pytest

from tests.services.databases import REPOSITORY

SERVER = REPOSITORY / "routing_app" / "requests"
CLIENT = REPOSITORY / "clients" / "python" / "switchboard_client"

pytestmark = pytest.mark.once


def test_both_copies_of_the_pending_requests_are_one_text():
    assert (CLIENT / "pending.py").read_text("utf-8") == (SERVER / "pending.py").read_text("utf-8")


def test_the_errors_of_the_server_begin_with_those_of_the_client():
    client = (CLIENT / "errors.py").read_text("utf-8")

    assert "class Answered" in client
    assert (SERVER / "errors.py").read_text("utf-8").startswith(client)
