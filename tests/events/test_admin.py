"""The Django admin of the events protocol, as operators use it: pages and forms, with sockets looking on."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest

from routing_app.core.codes import REVOKED
from tests.events.client import SECONDS, Socket, call
from tests.events.conftest import NewUser
from tests.services.server import Server
from tests.services.waiting import wait_until


class Operator:
    """A browser of few words, logged in to the admin."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        form = {"username": "admin", "password": server.env["DJANGO_SUPERUSER_PASSWORD"], "next": "/admin/"}
        assert "Log out" in self.post("/admin/login/", form)

    def get(self, path: str) -> str:
        with self._opener.open(self._url + path, timeout=SECONDS) as response:
            return str(response.read().decode())

    def post(self, path: str, form: dict[str, str]) -> str:
        """Fill in the form of a page; the page that follows."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path))
        assert token
        data = urllib.parse.urlencode(form | {"csrfmiddlewaretoken": token[1]}).encode()
        with self._opener.open(self._url + path, data, timeout=SECONDS) as response:
            return str(response.read().decode())

    def act(self, model: str, action: str, pk: str) -> str:
        """Run an action of a list on one row."""
        return self.post(f"/admin/events/{model}/", {"action": action, "_selected_action": pk})

    def find(self, model: str, text: str) -> tuple[str, str]:
        """The key and the page of the one row that a search finds."""
        page = self.get(f"/admin/events/{model}/?q={urllib.parse.quote(text)}")
        keys = re.findall(r'name="_selected_action" value="(\w+)"', page)
        assert len(keys) == 1
        return keys[0], page


@pytest.fixture(scope="module")
def operator(events: Server) -> Operator:
    return Operator(events)


def test_users_are_shown_with_root_sockets_and_channels(
    events: Server, operator: Operator, new_user: NewUser
):
    user = new_user()
    with Socket(events, "tea room", user.token), Socket(events, "garden", user.token):

        def page_with_both() -> str:
            """The list, once both sockets are counted: presence is written after the handshake."""
            page = operator.find("root", user.email)[1]
            return page if '<td class="field-sockets">2</td>' in page else ""

        assert user.root_id in wait_until(page_with_both)
        detail = operator.get(f"/admin/events/root/{operator.find('root', user.root_id[3:])[0]}/change/")
        assert "garden, tea room" in detail


def test_a_message_goes_to_a_user(events: Server, operator: Operator, new_user: NewUser):
    user = new_user()
    key, _ = operator.find("root", user.email)
    with Socket(events, token=user.token) as socket, Socket(events) as other:
        page = operator.act("root", "send", key)
        assert "To all sockets of 1 users." in page
        assert "Enter a valid JSON" in operator.post(f"/admin/events/root/send/?ids={key}", {"message": "{"})
        assert socket.pending() == []
        answer = operator.post(f"/admin/events/root/send/?ids={key}", {"message": '{"from": "the admin"}'})
        assert "Sent to 1 users." in answer

        assert socket.receive() == {"from": "the admin"}
        assert {"from": "the admin"} not in other.pending()


def test_a_message_goes_to_a_channel_with_or_without_a_row(events: Server, operator: Operator):
    with Socket(events, "no row") as socket:
        form = {"channel_id": "no row", "message": "[1]"}
        assert "Sent." in operator.post("/admin/events/channel/send/", form)
        assert socket.receive() == [1]
    form = {"channel_id": "with a row", "who_may_listen": "everyone", "who_may_send": "", "note": ""}
    operator.post("/admin/events/channel/add/", form)
    key, _ = operator.find("channel", "with a row")

    assert 'value="with a row"' in operator.act("channel", "send", key)


def test_an_operator_revokes_one_token_or_all(events: Server, operator: Operator, new_user: NewUser):
    one, two = new_user(), new_user()
    with Socket(events, token=one.token) as first, Socket(events, token=two.token) as second:
        key, _ = operator.find("logintoken", one.email)
        assert "1 tokens revoked." in operator.act("logintoken", "revoke", key)
        assert first.close_code() == REVOKED.code
        key, _ = operator.find("root", two.email)
        assert "1 tokens revoked." in operator.act("root", "revoke_tokens", key)
        assert second.close_code() == REVOKED.code
    for user in (one, two):
        assert call(events, "POST", "/user/logout", None, user.token).status == 401


def test_tokens_themselves_are_nowhere_in_the_admin(events: Server, operator: Operator, new_user: NewUser):
    user = new_user()
    _, page = operator.find("logintoken", user.email)

    assert user.token not in page


def test_a_deactivated_or_deleted_user_loses_the_sockets(
    events: Server, operator: Operator, new_user: NewUser
):
    off, gone = new_user(), new_user()
    with Socket(events, token=off.token) as first, Socket(events, token=gone.token) as second:
        form = {"username": off.email, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        assert "was changed successfully" in operator.post(f"/admin/auth/user/{off.id}/change/", form)
        assert first.close_code() == REVOKED.code
        assert "was deleted" in operator.post(f"/admin/auth/user/{gone.id}/delete/", {"post": "yes"})
        assert second.close_code() == REVOKED.code
