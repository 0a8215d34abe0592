"""The admin of rooms, as an operator's browser uses it."""

from __future__ import annotations

import asyncio
import http.cookiejar
import re
from contextlib import AsyncExitStack
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from tests.rooms.client import Api, plain, socketio
from tests.services.server import Server

ROOMS = "/admin/rooms/room/"


class Browser:
    """Logged in as the superuser of the tests' servers."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._open = build_opener(HTTPCookieProcessor(http.cookiejar.CookieJar())).open
        fields = {"username": "admin", "password": server.env["DJANGO_SUPERUSER_PASSWORD"], "next": ROOMS}
        assert "Log out" in self.post("/admin/login/", **fields)

    def get(self, path: str) -> str:
        with self._open(self._url + path) as response:
            return str(response.read().decode())

    def post(self, path: str, **fields: str) -> str:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path))
        assert token is not None
        data = urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        with self._open(self._url + path, data) as response:
            return str(response.read().decode())


def cell(page: str, name: str) -> str:
    found = re.search(rf'class="field-{name}">([^<]*)<', page)
    assert found is not None, page
    return found[1]


async def test_an_operator_sees_writes_to_disconnects_and_deletes_rooms(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    browser = await asyncio.to_thread(Browser, broker)
    socket, client = await plain(stack, broker, "layout"), await socketio(stack, broker, "layout", 3)
    await socket.join(room, "alice")
    await client.ask("JOIN", {"room": room, "name": "bob"})
    number = str((await api.room("layout", room))["id"])
    here = f"{ROOMS}?q={room}"

    page = await asyncio.to_thread(browser.get, here)
    assert cell(page, "members") == "2"
    page = await asyncio.to_thread(browser.get, f"{ROOMS}{number}/change/")
    assert "alice" in page
    assert client.sid.startswith("/layout#")
    assert "127.0.0.1:" in page

    asked = await asyncio.to_thread(browser.post, here, action="send_message", _selected_action=number)
    assert f"/layout {room}" in asked
    sent = await asyncio.to_thread(
        browser.post, here, action="send_message", _selected_action=number, message='{"x": ["é"]}'
    )
    assert "Sent to 1 rooms." in sent
    expected = ["EVENT", {"sender": "admin", "room": room, "message": {"x": ["é"]}}]
    assert (await socket.receive(), await client.receive()) == (expected, expected)

    await asyncio.to_thread(
        browser.post, here, action="send_message", _selected_action=number, message="plain text"
    )
    assert (await socket.receive())[1]["message"] == (await client.receive())[1]["message"] == "plain text"

    gone = await asyncio.to_thread(browser.post, here, action="disconnect_members", _selected_action=number)
    assert "Members of 1 rooms are being disconnected." in gone
    assert await socket.closed() == 4003
    assert await client.receive_packet() == "41/layout,"

    await asyncio.to_thread(browser.post, f"{ROOMS}{number}/delete/", post="yes")
    assert await api.room("layout", room) == {}


async def test_deleting_in_the_admin_empties_the_room(
    broker: Server, stack: AsyncExitStack, room: str, api: Api
) -> None:
    browser = await asyncio.to_thread(Browser, broker)
    member, sender = await plain(stack, broker, "layout"), await plain(stack, broker, "layout")
    await member.join(room, "alice")
    number = str((await api.room("layout", room))["id"])

    await asyncio.to_thread(
        browser.post, f"{ROOMS}?q={room}", action="delete_selected", _selected_action=number, post="yes"
    )
    await sender.say("NOTIFY", {"room": room, "message": 1})
    await sender.settled()

    assert await member.settled() == []


async def test_a_room_is_made_with_its_limits_and_keeps_its_name(broker: Server, room: str, api: Api) -> None:
    browser = await asyncio.to_thread(Browser, broker)
    fields = {"namespace": "bus", "name": room, "note": "n", "member_limit": "3", "allowed": '["alice"]'}
    forms = {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}

    await asyncio.to_thread(browser.post, f"{ROOMS}add/", **fields, **forms)

    made = await api.room("bus", room)
    assert (made["note"], made["member_limit"], made["allowed"]) == ("n", 3, ["alice"])
    page = await asyncio.to_thread(browser.get, f"{ROOMS}{made['id']}/change/")
    assert 'name="note"' in page
    assert 'name="name"' not in page
    wrong = await asyncio.to_thread(
        browser.post, f"{ROOMS}add/", **{**fields, "name": f"{room}2", "allowed": "5"}, **forms
    )
    assert "a list of strings" in wrong
