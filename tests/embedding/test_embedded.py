"""The broker in a project of one's own, under Daphne and uvicorn: all protocols, and its transactions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.embedding.project import Project
from tests.project import exchanges
from tests.project.exchanges import SECONDS, Site

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    settings = 'MAX_RECEIVERS = 2\nDEFAULT_AUTO_FIELD = "django.db.models.AutoField"'
    return Project(tmp_path_factory.mktemp("project"), settings=settings)


@pytest.fixture(
    scope="module", params=[("daphne", ""), ("uvicorn", "/broker"), ("serve", "")], ids=lambda one: one[0]
)
def served(project: Project, request: pytest.FixtureRequest) -> Iterator[tuple[Site, str]]:
    """The project under a server; below a prefix with uvicorn.

    One after the other: two would share the database and no layer, and either may send what is committed.
    """
    server, prefix = request.param
    with project.served(server, prefix) as site:
        yield site, prefix


def test_a_transaction_of_a_view_publishes_when_it_commits_alone(served: tuple[Site, str]) -> None:
    site, _ = served
    with site.socket("/ws?RegisterToken=orders") as receiver:
        for item in ("", "tea", "", "cake"):  # an order of nothing is rolled back
            site.call(f"/order?item={item}")
        received = [json.loads(receiver.recv(timeout=SECONDS))["order"] for _ in range(2)]
    with site.socket("/connection") as peer:
        peer.send(json.dumps({"key": "k", "direction": "REQUEST", "type": "orders"}))
        count = json.loads(peer.recv(timeout=SECONDS))["count"]

    assert received == [count - 1, count]


@pytest.fixture(scope="module")
def customer(project: Project) -> str:
    """A token of a customer of a publisher."""
    project.manage("createpublisher", "demo")
    return project.manage("gentoken", "--publisher", "demo", "--customer", "alice").strip()


def test_every_protocol_is_served(customer: str, served: tuple[Site, str]) -> None:
    site, prefix = served

    exchanges.tokens(site)
    exchanges.sessions(site, customer, prefix)
    exchanges.rooms(site)
    exchanges.events(site, prefix)
    exchanges.requests(site)


def test_walkers_of_an_app_are_found(served: tuple[Site, str]) -> None:
    site, prefix = served

    assert site.call(f"{prefix}/walker/greet", {"name": "bob"})["reports"] == ["hello bob"]


def test_a_protocol_of_an_app_is_found(served: tuple[Site, str]) -> None:
    site, prefix = served
    with site.socket("/app/switchboard") as client:
        assert json.loads(client.recv(timeout=SECONDS))["event"] == "pusher:connection_established"
        subscribe = {"event": "pusher:subscribe", "data": {"channel": "news"}}
        client.send(json.dumps(subscribe))
        client.recv(timeout=SECONDS)
        site.call(f"{prefix}/api/publish", {"addresses": ["pusher:news"], "message": "x"})
        assert json.loads(client.recv(timeout=SECONDS))["channel"] == "news"


def test_a_setting_of_the_project_counts(served: tuple[Site, str]) -> None:
    site, prefix = served
    with pytest.raises(HTTPError) as refused:
        site.call(f"{prefix}/api/publish", {"addresses": ["token:a", "token:b", "token:c"], "message": "x"})
    with refused.value as answer:
        assert (answer.code, "2" in answer.read().decode()) == (400, True)


def test_the_project_keeps_its_own_paths(served: tuple[Site, str]) -> None:
    """Its page at `/` is no form API, and its views take bodies that the broker's do not."""
    site, prefix = served
    body = b"x" * 2_000_000

    assert site.text("/") == "the project's own page"
    with urlopen(Request(f"{site.url}/upload", method="GET", data=body), timeout=SECONDS) as answer:
        assert int(answer.read()) == len(body)
    assert '"error"' in _refused(site, f"{prefix}/api/?method=nothing")
    assert site.call(f"{prefix}/api/schema?format=json")["servers"] == [{"url": prefix}] if prefix else True
    assert "swagger-ui" in site.text(f"{prefix}/api/docs")
    assert len(site.text(f"{prefix}/api/docs/files/swagger-ui-bundle.js")) > 1_000_000


def _refused(site: Site, path: str) -> str:
    with pytest.raises(HTTPError) as refused:
        site.text(path)
    with refused.value as answer:
        return answer.read().decode()


def test_django_finds_nothing_to_say_of_the_project(project: Project) -> None:
    """A command of the project runs its checks as well; the models need no migration that is not there,
    whatever the project's keys are made of."""
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")


def test_the_commands_of_the_server_are_there_when_they_are_wanted(project: Project) -> None:
    found = json.loads(project.manage("doctor", "--json", codes=(0, 1, 2), COMMANDS="yes"))

    assert {"start", "database", "redis"} <= {one["name"] for one in found["checks"]}
    assert "doctor" not in project.manage("help", "--commands")


@pytest.mark.parametrize("served", [("serve", "")], ids=["serve"], indirect=True)
@pytest.mark.usefixtures("served")
def test_serve_makes_no_user_and_no_key_in_a_project(project: Project) -> None:
    count = "from django.contrib.auth.models import User; from routing_app.core.models import ApiKey"
    printed = project.manage("shell", "-c", f"{count}; print(User.objects.count(), ApiKey.objects.count())")

    assert printed.split()[-2:] == ["0", "1"]
