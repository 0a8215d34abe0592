"""The whole OpenAPI document, every protocol's part of it, against a server: schemathesis finds no failure.

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
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.events.client import call, new_user
from tests.events.conftest import Launch
from tests.services.databases import sql
from tests.services.limits import let_everybody_log_in
from tests.services.server import Server

SOAK: Final = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EXAMPLES: Final = 200 if SOAK else 2
"""Requests to each operation, of valid and of broken ones each; the same each time but for `make soak`."""
BEYOND_SCHEMA: Final = {
    "POST /user/login": (400, "the original's answer to a wrong password"),
    "POST /user/register": (422, "Django's password validators"),
    "POST /user/change_password": (422, "Django's password validators"),
    "POST /api/publish": (400, "what is an address"),
    "GET /api/history": (400, "what is an address, and what a position"),
    "DELETE /api/history": (400, "what is an address"),
    "POST /api/disconnect": (400, "what is an address, and how long a reason is in bytes"),
    "POST /api/keys/": (400, "what is a pattern, and control characters"),
    "PUT /api/keys/{id}/": (400, "what is a pattern, and control characters"),
    "PATCH /api/keys/{id}/": (400, "what is a pattern, and control characters"),
    "POST /api/rules/": (400, "what is a pattern, and that there is one rule for it"),
    "PUT /api/rules/{id}/": (400, "what is a pattern, and that there is one rule for it"),
    "PATCH /api/rules/{id}/": (400, "what is a pattern, and that there is one rule for it"),
    "POST /api/issuers/": (400, "keys that work, one issuer of a name, and control characters"),
    "PUT /api/issuers/{id}/": (400, "keys that work, one issuer of a name, and control characters"),
    "PATCH /api/issuers/{id}/": (400, "keys that work, one issuer of a name, and control characters"),
    "POST /api/hooks/": (400, "what is a URL and a pattern, and the steps of a protocol"),
    "PUT /api/hooks/{id}/": (400, "what is a URL and a pattern, and the steps of a protocol"),
    "PATCH /api/hooks/{id}/": (400, "what is a URL and a pattern, and the steps of a protocol"),
    "POST /api/webhooks/": (400, "what is a URL, a type of event and a pattern"),
    "PUT /api/webhooks/{id}/": (400, "what is a URL, a type of event and a pattern"),
    "PATCH /api/webhooks/{id}/": (400, "what is a URL, a type of event and a pattern"),
    "POST /api/revocations/": (400, "one name, what is a network, and an end in the future"),
    "POST /api/connections/{id}/request": (504, "a connection that does not answer in time"),
    "POST /api/connections/{id}/send": (504, "a connection that does not answer in time"),
    "POST /api/tokens/": (400, "what is a token, and control characters"),
    "PUT /api/tokens/{id}/": (400, "a token cannot be changed"),
    "PATCH /api/tokens/{id}/": (400, "a token cannot be changed"),
    "POST /api/rooms/": (400, "a room exists, and control characters"),
    "PUT /api/rooms/{id}/": (400, "a room cannot be renamed"),
    "PATCH /api/rooms/{id}/": (400, "a room cannot be renamed"),
    "POST /api/channels/": (400, "members exist, and control characters"),
    "PUT /api/channels/{channel_id}/": (400, "members exist, and control characters"),
    "PATCH /api/channels/{channel_id}/": (400, "members exist, and control characters"),
    "GET /api/sessions/history/": (400, "years that a calendar has"),
    "GET /api/sessions/usage/": (400, "a publisher exists, and from is before to and not older than history"),
    "GET /api/sessions/usage/download/": (400, "as for usage"),
    "GET /api/publishers/{publisher}/limits/try/": (400, "an offer or a tag"),
    "POST /api/publishers/": (400, "one publisher of a name, and control characters"),
    "PATCH /api/publishers/{name}/": (400, "the name stays, and control characters"),
    "POST /api/publishers/{publisher}/limits/": (400, "one limit of a kind"),
    "PATCH /api/publishers/{publisher}/limits/{id}/": (400, "one limit of a kind"),
    "POST /api/publishers/{publisher}/keys/": (400, "keys that work"),
    "PATCH /api/publishers/{publisher}/keys/{id}/": (400, "a key stays as it is"),
    "GET /": (400, "fields of each method"),
    "POST /": (400, "fields of each method"),
}
"""Operations that refuse what the document allows, with what status, by a rule JSON Schema cannot hold."""
READS_ANYTHING: Final = {"POST /bus-message/{room}"}
"""Operations that read a body of another type as none."""
ENDLESS: Final = {"GET /api/stream"}
"""Operations whose answer does not end."""

Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def whole(launch: Launch) -> Iterator[Server]:
    """A server with the example's walkers alone: those of the tests fail on purpose."""
    with launch(EXTRA_APPS="examples.chat") as server:
        let_everybody_log_in(server)
        yield server


@pytest.mark.timeout(3600 if SOAK else 1800)
def test_no_request_made_from_the_document_fails(whole: Server):
    user = new_user(whole)
    # No request that is made up may name the key that makes it.
    sql(whole.database_url, "UPDATE core_apikey SET id = %s", "912345678")
    headers = {"X-API-Key": whole.api_key, "Authorization": f"Bearer {user.token}"}
    document = schemathesis.openapi.from_url(f"{whole.url}/api/schema?format=json")
    operations = [result.ok() for result in document.get_all_operations() if isinstance(result, Ok)]
    failures = [
        failure
        for operation in operations
        if operation.label not in ENDLESS
        for mode in GenerationMode
        for failure in failures_of(operation, mode, headers)
    ]

    assert len(operations) == document.statistic.operations.total > 30
    assert not failures, "\n\n".join(failures)
    assert call(whole, "GET", "/api/keys/", headers=headers).status == 200, "its own key was changed"
    assert "Traceback" not in whole.log_text()


def failures_of(operation: Operation, mode: GenerationMode, headers: dict[str, str]) -> list[str]:
    """Send requests until one fails; what failed. Nothing is raised: Hypothesis would send it again."""
    failures: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        if failures:
            return
        try:
            answer(case, headers)
        except (Exception, BaseExceptionGroup) as failure:
            failures.append(f"{operation.label}, {mode.value} requests: {failure}")

    try:
        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, f"{operation.label}: no valid request"
    return failures


def answer(case: Case, headers: dict[str, str]) -> None:
    """Send one request. Raises what is wrong with the answer."""
    status, _ = BEYOND_SCHEMA.get(case.operation.label, (0, ""))
    excluded: list[Any] = [positive_data_acceptance, not_a_server_error] if status else []
    if case.operation.path.startswith("/api/") or case.operation.label in READS_ANYTHING:
        excluded.append(negative_data_rejection)  # REST Framework reads 1 as "1", and "" as null
    if case.headers:
        case.headers.pop("host", None)  # one that is not ours is refused before any view
    response = case.call_and_validate(headers=headers, excluded_checks=excluded)
    assert not status or response.status_code in {*range(200, 500), status}
    if status and case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
        assert response.status_code in {200, 201, 204, 403, 404, 409, status}, case.as_curl_command()
