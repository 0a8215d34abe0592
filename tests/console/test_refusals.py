"""Every call behind every page is refused to staff without its permission, and to nobody else."""

from __future__ import annotations

import http.client
import re
import secrets
from typing import Final

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from routing_app.console.access import ACTS
from routing_app.console.menu import PAGES, Page
from routing_app.console.topics import TOPICS
from tests.console.behind import BEHIND
from tests.services.databases import REPOSITORY
from tests.services.server import Server

pytestmark = pytest.mark.django_db

CALLS: Final = sorted({(call, needed) for one in BEHIND.values() for call, needed in one.calls.items()})
SOURCES: Final = REPOSITORY / "routing_app" / "console" / "static" / "console" / "js"
CALLED: Final = re.compile(r'call\("(POST|PUT|PATCH|DELETE)", [`"]([^`"]+)[`"]')


def staff(*permissions: str) -> Client:
    """A browser with the session of a new member of the staff."""
    user = User.objects.create(username=secrets.token_hex(6), is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def status(client: Client, call: str) -> int:
    """The answer to a call on a row that is not there."""
    method, path = call.split()
    row = "00000000-0000-0000-0000-000000000000" if "sessions/{}" in path else "9"
    data = "" if method == "GET" else "{}"
    url = f"/api/{path.replace('{}', row)}"
    return client.generic(method, url, data, content_type="application/json").status_code


def test_every_page_topic_and_act_is_here() -> None:
    assert set(BEHIND) == {page.name for page in PAGES}
    assert set().union(*(one.topics for one in BEHIND.values())) == set(TOPICS)
    changes = {(m, re.sub(r"\$\{.*?\}", "{}", p)) for m, p in _changes()}
    assert {f"{method} {path}" for method, path in changes} == {
        call for call, _ in CALLS if not call.startswith("GET ")
    }
    of_pages = {page.permission for page in PAGES} | {needed for _, needed in CALLS}
    of_topics = {"core.view_messages", "core.read_bodies"}
    assert set(ACTS.values()) <= of_pages | of_topics


def _changes() -> list[tuple[str, str]]:
    """What scripts of pages call to change something."""
    found: list[tuple[str, str]] = []
    for path in SOURCES.rglob("*.js"):
        found += CALLED.findall(path.read_text())
    return found


# Publishing reads sessions on connections of its own, which see nothing of a test's transaction.
@pytest.mark.parametrize(("call", "needed"), [one for one in CALLS if one[0] != "POST publish"])
def test_a_call_needs_its_permission(call: str, needed: str) -> None:
    others = {permission for _, permission in CALLS} - {needed}

    assert status(staff(), call) == 403
    assert status(staff(*others), call) == 403
    assert status(staff(needed), call) in {200, 202, 204, 400, 404}
    assert status(Client(), call) in {401, 403}


@pytest.mark.parametrize(("name", "wanted"), [("nothing", 403), ("root", 400), ("nobody", 401)])
def test_publishing_needs_its_permission(
    broker: Server, sessions: dict[str, str], name: str, wanted: int
) -> None:
    token = "c" * 32
    headers = {
        "Content-Type": "application/json",
        "Cookie": f"sessionid={sessions.get(name, 'none')}; csrftoken={token}",
        "X-CSRFToken": token,
    }
    connection = http.client.HTTPConnection("127.0.0.1", broker.port, timeout=60)
    connection.request("POST", "/api/publish", "{}", headers)
    assert connection.getresponse().status == wanted
    connection.close()


@pytest.mark.parametrize("page", [page for page in PAGES if page.permission], ids=lambda page: page.name)
def test_topics_of_a_page_need_what_the_page_needs(page: Page) -> None:
    for topic in BEHIND[page.name].topics:
        assert page.permission in TOPICS[topic].permissions
