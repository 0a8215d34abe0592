"""A staff session that has ended, however it did, gives its socket nothing any more."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from websockets.exceptions import ConnectionClosed

from routing_app.core.access.staff_sessions import member
from tests.requests.conftest import Connect
from tests.requests.peer import Peer
from tests.services.databases import sql
from tests.services.server import Server

LOG_IN: Final = """
import json, sys
from django.contrib.auth import get_user_model
from django.test import Client
from django.conf import settings

settings.ALLOWED_HOSTS = ["*"]
people = {{}}
for name in {names}:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser(name))
    people[name] = client.session.session_key
print("PREPARED", json.dumps(people))
"""
PUBLISH: Final[dict[str, Any]] = {"addresses": ["token:staff"], "message": "early"}


def _of_user(change: str) -> str:
    return f"UPDATE auth_user SET {change} WHERE username = %s"


ENDINGS: Final = {
    "the session's row is deleted": "DELETE FROM django_session WHERE session_key = %s",
    "the session expires": "UPDATE django_session SET expire_date = '2001-01-01' WHERE session_key = %s",
    "the password changes": _of_user("password = 'another'"),
    "it is no staff any more": _of_user("is_staff = '0'"),
    "its permissions are taken": _of_user("is_superuser = '0'"),
    "it is no active user any more": _of_user("is_active = '0'"),
}


@pytest.fixture(scope="package")
def people(broker: Server) -> dict[str, str]:
    """Session keys of members of staff, one for each way in which a session ends, and of one who logs out."""
    names = [f"{secrets.token_hex(4)}-{number}" for number in range(len(ENDINGS) + 1)]
    output = broker.manage("shell", "-v0", "-c", LOG_IN.format(names=names))
    found: dict[str, str] = json.loads(output.rpartition("PREPARED ")[2])
    return found


@pytest.fixture
def page(broker: Server, connect: Connect) -> Callable[[str], Peer]:
    """Sockets of a page that has a session."""

    def open_one(session: str) -> Peer:
        cookie = {"Cookie": f"sessionid={session}"}
        return connect(broker, origin=broker.url, additional_headers=cookie)

    return open_one


def test_no_socket_of_an_ended_session_acts_or_stays(
    broker: Server, people: dict[str, str], page: Callable[[str], Peer], keyed: Connect
) -> None:
    """All ways at once: idle sockets are looked at every five seconds."""
    listener = keyed(broker)
    listener.ask("subscribe", addresses=["token:staff"])
    sessions = list(people.items())[: len(ENDINGS)]
    acting = [page(session) for _, session in sessions]
    idle = [page(session) for _, session in sessions]
    for peer in (*acting, *idle):
        assert peer.ask("publish", **PUBLISH)["direction"] == "REPLY"
    for (name, session), statement in zip(sessions, ENDINGS.values(), strict=True):
        sql(broker.database_url, statement, session if "django_session" in statement else name)

    for peer in acting:
        with suppress(ConnectionClosed):  # it was looked at already
            peer.send({"direction": "REQUEST", "type": "publish", **PUBLISH, "message": "late"})
    closes = [peer.close_code()[0] for peer in (*acting, *idle)]
    assert closes == [4005] * len(closes)
    received = [frame["message"] for frame in listener.silent() if frame.get("type") == "delivery"]
    assert received == ["early"] * len(closes)


def test_a_session_that_goes_on_keeps_its_rights(people: dict[str, str], page: Callable[[str], Peer]) -> None:
    peer = page(list(people.values())[-1])
    for type, fields in (("publish", PUBLISH), ("subscribe", {"addresses": ["token:x"]})):
        assert peer.ask(type, **fields)["direction"] == "REPLY"


@pytest.fixture
def staff(db: None) -> User:
    return get_user_model().objects.create_user("staff", is_staff=True)


def test_logging_out_ends_it(staff: User, client: Client) -> None:
    client.force_login(staff)
    key = client.session.session_key or ""
    assert member(key) == staff
    client.logout()
    assert member(key) is None


def test_looking_at_a_session_changes_nothing(staff: User, client: Client, settings: Any) -> None:
    """A secret that has been replaced still counts, and the browser keeps its key."""
    client.force_login(staff)
    key = client.session.session_key or ""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another secret", [settings.SECRET_KEY]
    assert member(key) == staff
    assert SessionStore(key).load()


@pytest.mark.parametrize("key", ["", "short", "x" * 32, "\0" * 32])
def test_a_key_without_session_is_nobodys(db: None, key: str) -> None:
    assert member(key) is None
