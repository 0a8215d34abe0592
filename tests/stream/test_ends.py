"""How streams end on real servers: rights that end, drains, slow readers; and that a reader can come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import IncompleteRead
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.requests.peer import call
from tests.services.databases import Databases, sql
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.stream.conftest import SITE, publish
from tests.stream.reader import Reader, reading
from tests.stream.test_stream import metric

MAKE = """
import json
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from routing_app.core.access import keys

settings.ALLOWED_HOSTS = ["*"]
names = ("revoked", "narrowed", "expired", "lasting")
made = {name: keys.issue(name, ["read", "publish"])[1] for name in names}
made["publisher"] = keys.issue("publisher", ["publish"])[1]
for name in ("leaving", "demoted", "staff", "powerless", "member"):
    client = Client()
    user = get_user_model().objects.create_user(name, is_staff=name != "member")
    if name in ("leaving", "demoted", "staff"):
        user.user_permissions.add(Permission.objects.get(codename="view_messages"))
    client.force_login(user)
    made[name] = client.session.session_key
print("MADE", json.dumps(made))
"""
TAKE_PERMISSIONS = """
DELETE FROM auth_user_user_permissions WHERE user_id = (SELECT id FROM auth_user WHERE username = %s)
"""


@pytest.fixture(scope="module")
def made(broker: Server) -> dict[str, str]:
    """Keys and session keys, by name."""
    output = broker.manage("shell", "-v0", "-c", MAKE)
    found: dict[str, str] = json.loads(output.rpartition("MADE ")[2])
    return found


def by_key(key: str) -> dict[str, Any]:
    return {"headers": {"X-API-Key": key}}


def by_session(session: str, **headers: str) -> dict[str, Any]:
    return {"headers": {"Cookie": f"sessionid={session}", **headers}}


def test_streams_end_with_the_rights_of_their_readers(broker: Server, made: dict[str, str], a: str):
    with ExitStack() as stack:
        ending = [
            stack.enter_context(reading(broker, a, **options))
            for options in (
                *(by_key(made[name]) for name in ("revoked", "narrowed", "expired")),
                *(by_session(made[name]) for name in ("leaving", "demoted")),
            )
        ]
        lasting = [
            stack.enter_context(reading(broker, a, **options))
            for options in (by_key(made["lasting"]), by_session(made["staff"]))
        ]
        name = "UPDATE core_apikey SET {} WHERE name = %s"
        sql(broker.database_url, name.format("revoked_at = '2026-01-01'"), "revoked")
        sql(broker.database_url, name.format("scopes = '[\"publish\"]'"), "narrowed")
        sql(broker.database_url, name.format("expires_at = '2026-01-01'"), "expired")
        sql(broker.database_url, "DELETE FROM django_session WHERE session_key = %s", made["leaving"])
        sql(broker.database_url, TAKE_PERMISSIONS, "demoted")

        assert [reader.rest() for reader in ending] == [[]] * 5
        publish(broker, "on", a)
        assert [reader.messages(1) for reader in lasting] == [["on"], ["on"]]
    for options in (by_key(made["revoked"]), by_session(made["leaving"])):
        # A process that is not told remembers a key for two seconds.
        wait_until(lambda options=options: status_of(broker, a, **options) == 401)  # type: ignore[misc]


def status_of(broker: Server, address: str, **options: Any) -> int:
    with Reader(broker, address, **options) as reader:
        return reader.status


def test_a_key_without_the_scope_is_refused(broker: Server, made: dict[str, str], a: str):
    with Reader(broker, a, **by_key(made["publisher"])) as reader:
        assert (reader.status, "the scope read" in json.dumps(reader.body())) == (403, True)


SITES = {
    "no browser, or a page of its own": ({}, 200),
    "a page of its own": ({"Origin": "OWN", "Sec-Fetch-Site": "same-origin"}, 200),
    "a page of its own without an origin": ({"Sec-Fetch-Site": "same-origin"}, 200),
    "an admitted page of another site": ({"Origin": SITE, "Sec-Fetch-Site": "cross-site"}, 401),
    "an image of another site": ({"Sec-Fetch-Site": "cross-site"}, 401),
    "an image of the same site": ({"Sec-Fetch-Site": "same-site"}, 401),
}


@pytest.mark.parametrize(("headers", "status"), SITES.values(), ids=SITES)
def test_a_staff_session_is_for_pages_of_the_own_host(
    broker: Server, made: dict[str, str], a: str, headers: dict[str, str], status: int
):
    own = {name: value.replace("OWN", broker.url) for name, value in headers.items()}
    with Reader(broker, a, **by_session(made["staff"], **own)) as reader:
        assert reader.status == status


def test_a_user_without_the_right_is_refused(broker: Server, made: dict[str, str], a: str):
    assert [status_of(broker, a, **by_session(made[name])) for name in ("member", "powerless")] == [403, 403]


# --- drains -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["serve", "uvicorn", "daphne"])
def test_a_stop_ends_streams_in_order_and_what_was_missed_is_there_after_it(
    server: ServerFactory, runner: str, a: str
):
    broker = server(runner, HISTORY_SIZE="50", STREAM_COMMENT_SECONDS="0.2")
    if runner != "serve":  # which makes the key by itself
        script = "from routing_app.core.access.firstrun import prepare; prepare()"
        broker.manage("shell", "-c", script)
    with reading(broker, a) as reader, reading(broker, a) as early:
        id = early.last_event_id
        publish(broker, 1, a)
        assert reader.messages(1) == [1]
        assert reader.until_comment() > 0
        stopping = threading.Thread(target=broker.stop)
        stopping.start()
        assert reader.rest() == []
        stopping.join()
    broker.start()
    with reading(broker, a, last_event_id=id) as again:
        assert again.messages(1) == [1]
        publish(broker, 2, a)
        assert again.messages(1) == [2]
    with reading(broker, a, last_event_id="unknown") as lost:
        assert lost.first().name == "gap"
    assert "Traceback" not in broker.log_text()


# --- bounds -----------------------------------------------------------------------------------------------

FILLING = "x" * 10_000


@pytest.fixture(scope="module")
def two_seats(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small outboxes and two seats."""
    options = {"MAX_OUTBOX_BYTES": "100000", "HISTORY_SIZE": "1000", "MAX_CONNECTIONS": "2"}
    with running(databases, tmp_path_factory.mktemp("bounded"), **options) as one:
        yield one


@pytest.fixture
def bounded(two_seats: Server) -> Server:
    """The same, whose seats are free."""
    wait_for_seats(two_seats)
    return two_seats


def wait_for_seats(server: Server) -> None:
    """Wait until no stream is left."""
    wait_until(lambda: metric(server, 'switchboard_connections{protocol="stream"}') == 0)


def publish_batch(broker: Server, numbers: range, address: str) -> None:
    """Messages with numbers, 10 kB each."""
    messages = [{"addresses": [address], "message": [number, FILLING]} for number in numbers]
    status, answer = call(broker, "/api/publish/batch", {"messages": messages})
    assert status == 200
    assert not any("error" in one for one in answer["results"])


def test_thousands_of_missed_messages_never_end_a_slow_reader(bounded: Server, a: str):
    for start in range(0, 1000, 100):
        publish_batch(bounded, range(start, start + 100), a)
    slow = metric(bounded, 'switchboard_closed_total{close="slow",protocol="stream"}')
    with reading(bounded, a, last=1000, receive_buffer=4096) as reader:
        assert [event.data["message"][0] for event in reader.some(1000)] == list(range(1000))
        publish(bounded, "live", a)
        assert reader.messages(1) == ["live"]
    assert metric(bounded, 'switchboard_closed_total{close="slow",protocol="stream"}') == slow


def test_a_reader_that_does_not_read_is_ended_and_recovers(bounded: Server, a: str):
    closed = 'switchboard_closed_total{close="slow",protocol="stream"}'
    before, lost = metric(bounded, closed), metric(bounded, 'switchboard_lost_total{reason="slow"}')
    with reading(bounded, a, receive_buffer=4096) as reader, reading(bounded, a) as other:
        # The other one has read each batch before the next: half an outbox at most waits for it.
        for start in range(0, 900, 5):
            numbers = range(start, start + 5)
            publish_batch(bounded, numbers, a)
            assert [event.data["message"][0] for event in other.some(5)] == list(numbers)
        wait_until(lambda: metric(bounded, closed) > before)
        assert metric(bounded, closed) == before + 1
        assert metric(bounded, 'switchboard_lost_total{reason="slow"}') > lost
        with pytest.raises((IncompleteRead, ConnectionError)):
            reader.rest()
        id = reader.last_event_id
    wait_for_seats(bounded)
    with reading(bounded, a, last_event_id=id) as again:
        first = again.next()
        assert first.name == "message"
        assert first.data["offset"] == int(id.rpartition(":")[2]) + 1


def test_seats_are_bounded(bounded: Server, a: str):
    with reading(bounded, a), reading(bounded, a), Reader(bounded, a) as third:
        assert (third.status, third.header("Retry-After")) == (503, "5")
        assert third.body() == {"detail": "Too many connections."}
    wait_for_seats(bounded)
    with reading(bounded, a):
        pass
