"""JSON has one rule on every way in, for numbers that no double holds, byte order marks, and depth."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from rest_framework.exceptions import ParseError
from switchboard_client import wire as client

from routing_app.core.rest.parsers import StrictJSONParser
from routing_app.engineio.socketio import wire as socketio
from routing_app.events import wire as events
from routing_app.events.admin import SendForm
from routing_app.requests import wire as requests
from routing_app.rooms import wire as rooms
from routing_app.rooms.admin import MessageForm, RoomAdmin
from routing_app.rooms.models import Room
from routing_app.tokens import imports
from sessions_app import wire as sessions
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.sessions.conftest import Broker

NOT_JSON = {
    "a number beyond double": "1e999",
    "the same below zero": "-1e999",
    "an integer beyond double": "1" + "0" * 400,
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "NaN": "NaN",
    "nested without end": "[" * 2_000 + "]" * 2_000,
}
"""Values that are refused wherever one stands."""


def form_value(text: str) -> Any:
    form = SendForm({"message": text})
    if not form.is_valid():
        raise ValueError(form.errors.as_text())
    return form.cleaned_data["message"]


def typed_value(text: str) -> Any:
    """Input of an operator for a room; a string that is not JSON is sent as it is."""
    form = MessageForm({"message": text})
    assert form.is_valid()
    if isinstance(form.value(), str):
        raise ValueError  # noqa: TRY004
    return form.value()


def allowed_value(text: str) -> Any:
    column = Room._meta.get_field("allowed")
    field = column.formfield(**RoomAdmin.formfield_overrides[type(column)])
    assert field is not None
    return field.clean(text)


READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "a Socket.IO packet": (socketio.decode, '2["x",{}]'),
    "a frame of a plain socket of rooms": (rooms.parse_frame, '["NOTIFY",{}]'),
    "a string of JSON in an event": (
        lambda text: rooms.parse("bus", "NOTIFY", [text]),
        '{{"room":"r","message":{}}}',
    ),
    "a frame of requests": (requests.Codec().decode, '{{"a":{}}}'),
    "an event": (
        lambda text: events.parse(text, 9),
        '{{"type":"channel","channel_ids":["c"],"data":{{"a":{}}}}}',
    ),
    "a player's frame": (sessions.parse, '{{"action":"PONG","a":{}}}'),
    "a player's body": (lambda text: sessions.parse_create(text.encode()), '{{"offerId":"o","a":{}}}'),
    "a body of the REST side": (lambda text: StrictJSONParser().parse(BytesIO(text.encode())), "{}"),
    "a table of tokens": (lambda text: imports._decode(text.encode()), '{{"a":{}}}'),
    "a message typed for a channel": (form_value, '{{"a":{}}}'),
    "a message typed for a room": (typed_value, '{{"a":{}}}'),
    "a room's list typed by an operator": (allowed_value, '["a",{}]'),
    "a frame at the Python client": (client.decode, '{{"a":{}}}'),
}


@pytest.mark.once
@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize(("read", "text"), READERS.values(), ids=READERS)
def test_no_reader_takes(read: Callable[[str], Any], text: str, value: str) -> None:
    with pytest.raises((ValueError, ParseError, ValidationError, events.BadEvent, imports.TableError)):
        read(text.format(value))


@pytest.mark.once
@pytest.mark.parametrize(("read", "text"), READERS.values(), ids=READERS)
def test_every_reader_takes_the_same_text_with_a_number_that_a_double_holds(
    read: Callable[[str], Any], text: str
) -> None:
    inner = '"b"' if read is allowed_value else "1e308"
    assert read(text.format(inner)) is not None


# --- over HTTP -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One server that has handlers and walkers, and a publisher."""
    with serving(databases, tmp_path_factory, EXTRA_APPS="tests.requests.app,tests.events.app") as server:
        yield Broker(server)


@dataclass(frozen=True)
class Way:
    """A path that takes JSON: a body with a gap for a value, and what it answers, with and without sense."""

    path: str
    body: str
    refused: int = 400
    taken: int = 200
    credentials: str = "key"
    padding: int = 0


WAYS = {
    "publish": Way(
        "/api/publish", '{{"addresses":["token:a","room:bus/r","channel:c","connection:d"],"message":{}}}'
    ),
    "publish, too large for the short way": Way(
        "/api/publish", '{{"addresses":["token:a"],"message":{}}}', padding=300_000
    ),
    "a token": Way("/api/tokens/", '{{"token":"t","note":"","other":{}}}', taken=201),
    "a room": Way("/api/rooms/", '{{"namespace":"bus","name":"r1","other":{}}}', taken=201),
    "a channel": Way("/api/channels/", '{{"channel_id":"c1","other":{}}}', taken=201),
    "a message to a connection": Way("/api/connections/0a/send", '{{"message":{{"a":{}}}}}', taken=404),
    "a request to a connection": Way("/api/connections/0a/request", '{{"message":{{"a":{}}}}}', taken=404),
    "the bus": Way("/bus-message/r", '{{"a":{}}}', credentials=""),
    "a walker": Way("/walker/deactivate_silently", '{{"user_id":0,"other":{}}}', 422, credentials=""),
    "login": Way("/user/login", '{{"email":"a@b.c","password":"x","other":{}}}', 422, 400, credentials=""),
    "the form API": Way("/", '{{"method":"get_clients"{}}}'),
    "a player's session": Way("/sessions", '{{"offerId":"o","other":{}}}', credentials="customer"),
}
"""Every path that takes JSON."""


def post(broker: Broker, way: Way, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer."""
    server = broker.server
    credentials: Mapping[str, dict[str, str]] = {
        "": {},
        "key": {"X-API-Key": server.api_key},
        "customer": {"Authorization": f"Bearer {broker.token('c')}"},
    }
    headers = {"Content-Type": "application/json", **credentials[way.credentials]}
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        connection.request("POST", way.path, body + b" " * way.padding, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.once
@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_path_takes(broker: Broker, way: Way, value: str) -> None:
    separator = ',"other":' if way.path == "/" else ""
    status, _ = post(broker, way, way.body.format(separator + value).encode())

    assert status == way.refused
    assert "Traceback" not in broker.server.log_text()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_path_ignores_one_byte_order_mark(broker: Broker, way: Way) -> None:
    body = way.body.format("" if way.path == "/" else "1").encode()

    assert post(broker, way, "\ufeff".encode() + body)[0] == way.taken
    assert post(broker, way, "\ufeff\ufeff".encode() + body)[0] == way.refused


@pytest.mark.parametrize("token", [5, 1.5, 1e300, True, None, [], {}, ["a"]], ids=json.dumps)
@pytest.mark.parametrize("named", ["tokens token", "rooms name", "channels channel_id"])
def test_a_name_is_a_string(broker: Broker, named: str, token: Any) -> None:
    path, field = named.split()
    body = {"namespace": "bus", field: token}
    status, answer = post(broker, Way(f"/api/{path}/", ""), json.dumps(body).encode())

    assert (status, list(json.loads(answer))) == (400, [field])


@pytest.mark.parametrize("timeout", ["nan", "inf", "-inf", "Infinity"])
def test_a_time_is_a_number(broker: Broker, timeout: str) -> None:
    body = {"message": {}, "timeout": timeout}
    status, answer = post(broker, Way("/api/connections/0a/request", ""), json.dumps(body).encode())

    assert (status, list(json.loads(answer))) == (400, ["timeout"])


@pytest.mark.parametrize("name", ["a\0b", "\ud83d"], ids=["NUL", "half of a surrogate pair"])
def test_a_list_of_names_holds_storable_ones(broker: Broker, name: str) -> None:
    body = {"namespace": "bus", "name": "listed", "allowed": [name]}
    status, answer = post(broker, Way("/api/rooms/", ""), json.dumps(body).encode())

    assert (status, list(json.loads(answer))) == (400, ["allowed"])
