"""The whole OpenAPI document, every line's part of it, against a server: schemathesis finds no failure.

Requests are made up from the document, valid ones and broken ones. A failure is a server error, or an answer
that the document does not describe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.events.client import User, people
from tests.events.conftest import Launch
from tests.services.server import Server

SOAK: Final = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EXAMPLES: Final = 200 if SOAK else 8
"""Requests to each operation, of valid and of broken ones each; the same each time but for `make soak`."""
BEYOND_SCHEMA: Final = {
    "POST /user/login": "400 is the original's answer to a wrong password",
    "POST /user/register": "Django's password validators",
    "POST /user/change_password": "Django's password validators",
    "POST /api/publish": "what is an address",
    "POST /api/tokens/": "what is a token, and control characters",
    "PUT /api/tokens/{id}/": "a token cannot be changed",
    "PATCH /api/tokens/{id}/": "a token cannot be changed",
    "GET /api/tokens/": "a search for NUL",
    "POST /api/rooms/": "a room exists, and control characters",
    "PUT /api/rooms/{id}/": "a room cannot be renamed",
    "PATCH /api/rooms/{id}/": "a room cannot be renamed",
    "GET /api/rooms/": "a search for NUL",
    "POST /api/channels/": "members exist, and control characters",
    "PUT /api/channels/{channel_id}/": "members exist, and control characters",
    "PATCH /api/channels/{channel_id}/": "members exist, and control characters",
}
"""Operations that refuse what the document allows, by a rule that JSON Schema cannot hold."""

Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def whole(launch: Launch) -> Iterator[Server]:
    """A server with the example's walkers alone: those of the tests fail on purpose."""
    with launch(EXTRA_APPS="examples.chat", EVENTS_LOGIN_RATE="0") as server:
        yield server


@pytest.mark.timeout(3600 if SOAK else 170)
def test_no_request_made_from_the_document_fails(whole: Server):
    (user,) = people(whole, 1)
    document = schemathesis.openapi.from_url(f"{whole.url}/api/schema?format=json")
    operations = [result.ok() for result in document.get_all_operations() if isinstance(result, Ok)]
    failures = [str(failure) for operation in operations for failure in failures_of(operation, whole, user)]

    assert len(operations) == document.statistic.operations.total > 30
    assert failures == []
    assert "Traceback" not in whole.log_text()


def failures_of(operation: Operation, server: Server, user: User) -> Iterator[BaseException]:
    """What goes wrong with one operation, in both modes."""
    for mode in GenerationMode:
        try:
            exercise(operation, mode, server, user)
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, f"{operation.label}: no valid request"
        except (Exception, BaseExceptionGroup) as failure:
            failure.add_note(f"{operation.label}, {mode.value} requests")
            yield failure


def exercise(operation: Operation, mode: GenerationMode, server: Server, user: User) -> None:
    """Send requests until one fails."""
    headers = {"X-API-Key": server.api_key, "Authorization": f"Bearer {user.token}"}
    excluded: list[Any] = [positive_data_acceptance] if operation.label in BEYOND_SCHEMA else []

    @settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    check()
