"""Walkers and channels over HTTP."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from routing_app.events.wire import UNAVAILABLE
from tests.events.client import PUBLIC, Socket, User, call
from tests.services.server import Server
from tests.services.waiting import wait_until

TASK = "n:Task:" + "0" * 22 + "aa"


def test_a_walker_answers_with_its_envelope(events: Server, ann: User):
    answer = call(events, "POST", "/walker/typed", {"val": 3}, ann.token)

    assert (answer.status, answer.body) == (
        200,
        {"status": 200, "reports": [{"val": 3, "text": "x", "when": None, "tags": []}]},
    )


def test_a_walker_without_reports_reports_nothing(events: Server, ann: User):
    body = {"channel_id": "nobody is here"}

    assert call(events, "POST", "/walker/send_chat_to_group", body, ann.token).body == {
        "status": 200,
        "reports": [],
    }


def test_a_walker_without_fields_needs_no_body(events: Server, ann: User):
    assert call(events, "POST", "/walker/only_post", None, ann.token).body["reports"] == ["posted"]
    assert call(events, "POST", "/walker/only_post", {"more": 1}, ann.token).body["reports"] == ["posted"]


@pytest.mark.parametrize(
    ("body", "type", "loc"),
    [
        (None, "missing", ["body"]),
        ({}, "missing", ["body", "val"]),
        ({"val": "x"}, "int_parsing", ["body", "val"]),
        ([], "model_attributes_type", ["body"]),
        (b"{", "json_invalid", ["body", 1]),
        (b"\xff", "json_invalid", ["body", 0]),
    ],
)
def test_wrong_fields_are_a_422_that_says_where(
    events: Server, ann: User, body: Any, type: str, loc: list[Any]
):
    answer = call(events, "POST", "/walker/typed", body, ann.token)
    (item,) = answer.body["detail"]

    assert answer.status == 422
    assert (item["type"], item["loc"]) == (type, loc)
    assert "url" not in item


@pytest.mark.parametrize("value", [b"1%s" % (b"0" * 40), b"[" * 101 + b"]" * 101, b"[" * 400 + b"]" * 400])
def test_a_field_too_large_or_too_deep_to_pass_on_is_refused(events: Server, ann: User, value: bytes):
    def walk(body: bytes) -> Any:
        return call(events, "POST", "/walker/typed", body, ann.token)

    assert walk(b'{"val": 1, "text": "x", "tags": %s}' % value).status == 422
    assert walk(b'{"val": %s}' % value).status == 422
    assert walk(b'{"val": 1, "ignored": %s}' % value).body["reports"][0]["val"] == 1


def test_a_walker_needs_a_token_unless_it_is_public(events: Server, ann: User):
    none = call(events, "POST", "/walker/typed", {"val": 1})
    bad = call(events, "POST", "/walker/typed", {"val": 1}, "nonsense")

    assert (none.status, none.body) == (403, {"detail": "Not authenticated"})
    assert (bad.status, bad.body) == (401, {"detail": "Unauthorized"})
    for token in ("", "nonsense", ann.token):
        # A public walker takes a token, and runs as the public all the same.
        assert call(events, "POST", "/walker/public", None, token).body["reports"] == [{"root_id": PUBLIC}]


def test_a_page_may_call_walkers_where_it_may_open_a_socket(strict: Server, events: Server):
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    for path, methods in {"/user/login": {"POST", "OPTIONS"}, "/walker/typed": {"POST", "OPTIONS"}}.items():
        preflight = call(strict, "OPTIONS", path, headers=asks)
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert set(preflight.headers["Access-Control-Allow-Methods"].split(", ")) == methods
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Origin" not in call(events, "OPTIONS", path, headers=asks).headers
    walked = call(strict, "POST", "/walker/typed", {"val": 1}, headers=asks)
    assert (walked.status, walked.headers["Access-Control-Allow-Origin"]) == (403, "https://app.example")
    assert "Access-Control-Allow-Credentials" not in walked.headers
    with Socket(strict, origin="https://app.example"):
        pass


@pytest.mark.parametrize("path", ["/walker/nope", "/walker/", "/walker/nope/at/all"])
def test_an_unknown_walker_is_not_found(events: Server, ann: User, path: str):
    for method in ("GET", "POST", "DELETE"):
        answer = call(events, method, path, None, ann.token)
        assert (answer.status, answer.body) == (404, {"detail": "Not Found"})


def test_a_method_that_a_walker_does_not_have_is_a_405(events: Server, ann: User):
    answer = call(events, "GET", "/walker/typed", None, ann.token)

    assert (answer.status, answer.body) == (405, {"detail": "Method Not Allowed"})


def test_nodes_stand_in_the_path(events: Server, ann: User, bob: User):
    def at(node: str) -> Any:
        return call(events, "POST", f"/walker/whoami/{node}", None, ann.token)

    assert at(ann.root_id).body["reports"][0]["node"] == ann.root_id
    assert at(TASK).body["reports"][0]["here"] == {"task": TASK[7:]}
    for missing in ("bogus", "n:Task:" + "0" * 24, "n::" + "f" * 24):
        assert (at(missing).status, at(missing).body) == (404, {"detail": "Not Found"})
    denied = {"detail": {"error": f"You don't have access on target entry {bob.root_id}!"}}
    assert (at(bob.root_id).status, at(bob.root_id).body) == (403, denied)


def test_fields_stand_in_path_query_and_body_as_the_walker_says(events: Server, ann: User):
    put = call(events, "PUT", "/walker/store/top/3?note=here", {"weight": 1.5, "tags": ["a"]}, ann.token)
    get = call(events, "GET", "/walker/store/top/3?note=x&note=y&tags=a&tags=b&weight=2", None, ann.token)
    delete = call(events, "DELETE", f"/walker/store/{TASK}/top/4", None, ann.token)
    wrong = call(events, "PUT", "/walker/store/top/x?note=a", {"weight": "y", "tags": 1}, ann.token)

    stored = {"shelf": "top", "slot": 3, "note": "here", "weight": 1.5, "tags": ["a"]}
    assert put.body["reports"] == [stored]
    assert get.body["reports"] == [{**stored, "note": "y", "weight": 2, "tags": ["a", "b"]}]
    assert delete.body["reports"] == [{"shelf": "top", "slot": 4, "note": "", "weight": 0, "tags": []}]
    assert [item["loc"] for item in wrong.body["detail"]] == [
        ["path", "slot"],
        ["body", "weight"],
        ["body", "tags"],
    ]


@pytest.mark.parametrize("name", ["raise_secret", "raise_secret_async", "report_odd"])
def test_a_walker_that_raises_is_a_500_without_a_traceback(events: Server, ann: User, name: str):
    answer = call(events, "POST", f"/walker/{name}", None, ann.token)

    assert (answer.status, answer.body) == (500, {"errors": ["Internal error\n"]})


@pytest.mark.parametrize("name", ["without_database", "without_database_async"])
def test_a_walker_without_the_database_is_a_503(events: Server, ann: User, name: str):
    answer = call(events, "POST", f"/walker/{name}", None, ann.token)

    assert (answer.status, answer.body) == (503, {"errors": [UNAVAILABLE]})
    assert answer.headers["Retry-After"].isdecimal()


@pytest.mark.parametrize("name", ["hang", "hang_async"])
def test_a_walker_that_hangs_is_a_500_in_time(hasty: Server, hasty_user: User, name: str):
    answer = call(hasty, "POST", f"/walker/{name}", None, hasty_user.token)

    assert (answer.status, answer.body) == (
        500,
        {"errors": ["TimeoutError: the walker ran longer than 1 s\n"]},
    )


@pytest.mark.parametrize("name", ["tell", "tell_async"])
def test_a_walker_over_http_notifies_sockets_and_itself_not(events: Server, ann: User, bob: User, name: str):
    room = secrets.token_hex(4)
    with Socket(events, room, bob.token) as socket:
        context = {
            "root_ids": [bob.root_id],
            "channel_ids": [room],
            "client_ids": [socket.client_id],
            "data": {"mark": room},
        }
        assert call(events, "POST", f"/walker/{name}", context, ann.token).status == 200
        assert [socket.receive() for _ in range(3)] == [{"mark": room}] * 3
        assert call(events, "POST", "/walker/narrate", {"number": 2}, ann.token).body["reports"] == ["told"]
        assert socket.pending() == []


def test_the_document_describes_every_walker_as_it_is(events: Server):
    answer = call(events, "GET", "/api/schema?format=json")
    paths = answer.body["paths"]

    assert {"/walker/typed", "/walker/typed/{node}", "/user/login", "/user/logout", "/api/channels/"} <= set(
        paths
    )
    assert "/walker/wait_for" in paths
    store = paths["/walker/store/{shelf}/{slot}"]
    assert set(store) == {"put", "delete", "get"}
    places = {parameter["name"]: parameter["in"] for parameter in store["put"]["parameters"]}
    assert places == {"shelf": "path", "slot": "path", "note": "query"}
    assert {parameter["name"] for parameter in store["get"]["parameters"]} == {
        "shelf",
        "slot",
        "note",
        "weight",
        "tags",
    }
    body = store["put"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(answer.body["components"]["schemas"][body]["properties"]) == {"weight", "tags"}
    assert paths["/walker/typed"]["post"]["security"] == [{"loginToken": []}]
    assert paths["/walker/public"]["get"].get("security", [{}]) == [{}]


def test_a_parameter_of_an_enumeration_or_of_several_values_is_one_in_the_document_too(
    events: Server, ann: User
):
    got = call(events, "GET", "/walker/choose/red?sizes=1&sizes=2", None, ann.token)
    assert got.body["reports"] == [{"colour": "red", "sizes": [1, 2]}]
    assert call(events, "GET", "/walker/choose/red", None, ann.token).body["reports"][0]["sizes"] is None

    document = call(events, "GET", "/api/schema?format=json").body
    parameters = document["paths"]["/walker/choose/{colour}"]["get"]["parameters"]
    (colour,) = [parameter for parameter in parameters if parameter["name"] == "colour"]
    assert colour["schema"]["enum"] == ["red", "blue"]
    assert "#/$defs/" not in json.dumps(document)


@pytest.mark.parametrize(
    "path",
    [
        "clients/?protocol=%00",
        "clients/?address=%00",
        "rooms/?namespace=%00",
        "tokens/?source=%00",
        "channels/%00/",
        "channels/?page=%00",
    ],
)
def test_nul_in_a_url_is_no_server_error(events: Server, path: str):
    """PostgreSQL takes none in a query."""
    assert call(events, "GET", f"/api/{path}", token=events.api_key).status < 500


# --- channels --------------------------------------------------------------------------------------------


def test_channels_are_listed_with_rules_and_live_sockets(events: Server, ann: User):
    key = {"X-API-Key": events.api_key}
    live, ruled = f"live {secrets.token_hex(4)}", f"a/b {secrets.token_hex(4)}?ü"
    rule = {"channel_id": ruled, "who_may_send": "members", "members": [ann.root_id], "note": "tea"}
    with Socket(events, live), Socket(events, live):
        assert call(events, "POST", "/api/channels/", rule, headers=key).status == 201

        def all_listed() -> dict[str, Any]:
            """Rows by channel, once both sockets are counted: presence is written after the handshake."""
            answer = call(events, "GET", "/api/channels/?page_size=1000", headers=key)
            rows = {row["channel_id"]: row for row in answer.body["results"]}
            return rows if rows.get(live, {}).get("sockets") == 2 else {}

        listed = wait_until(all_listed)
        assert listed[live] == {
            "channel_id": live,
            "who_may_send": "",
            "who_may_listen": "everyone",
            "members": [],
            "note": "",
            "sockets": 2,
        }
        assert listed[ruled] == rule | {"who_may_listen": "everyone", "sockets": 0}
        assert call(events, "GET", path_of(live), headers=key).body == listed[live]
    assert call(events, "GET", path_of(ruled), headers=key).body == listed[ruled]
    changed = call(events, "PATCH", path_of(ruled), {"members": []}, headers=key)
    assert changed.body["members"] == []
    assert call(events, "DELETE", path_of(ruled), headers=key).status == 204
    assert call(events, "GET", path_of(ruled), headers=key).status == 404


def test_blanks_at_the_ends_of_a_channel_id_count(events: Server):
    name = f" {secrets.token_hex(4)} "
    made = call(
        events, "POST", "/api/channels/", {"channel_id": name, "who_may_send": "nobody"}, events.api_key
    )
    assert (made.status, made.body["channel_id"]) == (201, name)
    with Socket(events, name) as socket:
        answer = socket.ask({"type": "channel", "channel_ids": [name], "data": {}})
        assert answer["error"].startswith("You don't have access")
        socket.send({"type": "channel", "channel_ids": [name.strip()], "data": {}})
        assert socket.pending() == []


def path_of(channel_id: str) -> str:
    from urllib.parse import quote

    return f"/api/channels/{quote(channel_id, safe='')}/"


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel_id": ""},
        {"channel_id": "x" * 256},
        {"channel_id": "a\x00b"},
        {"channel_id": "c", "who_may_send": "somebody"},
        {"channel_id": "c", "members": ["bogus"]},
        {"channel_id": "c", "members": ["n::" + "f" * 24]},
        {"channel_id": "c", "members": [1, {}]},
    ],
)
def test_a_wrong_channel_is_a_400(events: Server, wrong: dict[str, Any]):
    answer = call(events, "POST", "/api/channels/", wrong, headers={"X-API-Key": events.api_key})

    assert answer.status == 400, answer


def test_channels_are_for_operators_alone(events: Server):
    assert call(events, "GET", "/api/channels/").status == 401


@pytest.mark.parametrize("form", ["user:{}", "user:{bare}"])
def test_an_operator_publishes_to_users_channels_and_clients(events: Server, ann: User, form: str):
    room = secrets.token_hex(4)
    with Socket(events, room, ann.token) as socket:
        user = form.format(ann.root_id, bare=ann.root_id[3:])
        addresses = [user, f"channel:{room}", f"client:{socket.client_id}"]
        body = {"addresses": addresses, "message": {"mark": room}}
        assert call(events, "POST", "/api/publish", body, events.api_key).status == 200

        assert socket.receive() == {"mark": room}
        assert socket.pending() == [], "a connection gets a publication once, however many addresses match"


@pytest.mark.parametrize("message", ["text", 1, None, [1, {"a": None}], 2**70])
def test_any_json_can_be_published(events: Server, message: Any):
    room = secrets.token_hex(4)
    with Socket(events, room) as socket:
        body = {"addresses": [f"channel:{room}"], "message": message}
        assert call(events, "POST", "/api/publish", body, events.api_key).status == 200
        assert socket.receive() == message
