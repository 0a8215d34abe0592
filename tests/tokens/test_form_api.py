"""The form API at `/` and `/api/`: fields, replies, keys and errors, over real HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from urllib.parse import urlencode

import pytest

from tests.conftest import ServerFactory
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import Reply, call, form
from tests.tokens.conftest import Connect

FORM = "application/x-www-form-urlencoded"


def error(reply: Reply) -> str:
    """The sentence of an error; fails when the reply is none."""
    assert list(reply.json()) == ["error"]
    return str(reply.json()["error"])


# --- as the original's callers call -----------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_of_the_original_documentation_works_with_a_key(broker: Server, connect: Connect) -> None:
    client = connect(broker, "abc")
    command = [
        *[
            "curl",
            "--silent",
            "--noproxy",
            "*",
            "--location",
            "--request",
            "POST",
            f"localhost:{broker.port}",
        ],
        *["--header", f"Content-Type: {FORM}", "--header", f"X-API-Key: {broker.api_key}"],
        *["--data-urlencode", "method=broadcast", "--data-urlencode", "message=abc|themessage"],
    ]

    reply = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert json.loads(reply)["ok"] is True
    assert client.next_frame() == "themessage"


def test_decision_16_get_with_a_bare_bar_and_json_without_a_body(
    broker: Server, connect: Connect, name: str
) -> None:
    client = connect(broker, name)
    request = (
        f"GET /?method=broadcast&message={name}|text&key={broker.api_key} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n\r\n"
    )

    with socket.create_connection((LOOPBACK, broker.port), timeout=60) as raw:
        raw.sendall(request.encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")

    assert client.next_frame() == "text"


# --- fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/"])
def test_decision_16_form_query_and_json(broker: Server, connect: Connect, name: str, path: str) -> None:
    client = connect(broker, name)
    fields = {"method": "broadcast", "message": f"{name}|ż&=+"}
    boundary = "--b\r\nContent-Disposition: form-data; name="
    multipart = (
        "".join(f'{boundary}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()) + "--b--\r\n"
    )
    replies = [
        call(broker, "POST", path, urlencode(fields), Content_Type=FORM),
        call(broker, "POST", path, fields),
        call(broker, "POST", path, multipart.encode(), Content_Type="multipart/form-data; boundary=b"),
        call(broker, "GET", f"{path}?{urlencode(fields)}"),
        call(broker, "POST", f"{path}?{urlencode(fields)}"),
        call(broker, "POST", f"{path}?method=broadcast", {"message": fields["message"]}),
        call(broker, "POST", f"{path}?message=nobody|x", fields),
    ]

    assert [reply.status for reply in replies] == [200] * 7
    assert [client.next_frame() for _ in replies] == ["ż&=+"] * 7


def test_decision_18_token_or_message_names_the_token(broker: Server, name: str) -> None:
    form(broker, "registerToken", token=f"{name}1")
    form(broker, "registerToken", message=f"{name}2")
    form(broker, "registerToken", token=f"{name}3", message=f"{name}4")
    form(broker, "unregisterToken", message=f"{name}1")
    form(broker, "unregisterToken", token=f"{name}2")

    rows = form(broker, "registeredTokenList").json()
    mine = {token.removeprefix(name): enabled for token, enabled in rows.items() if token.startswith(name)}

    assert mine == {"1": False, "2": False, "3": True}


# --- replies ----------------------------------------------------------------------------------------------


def test_decision_19_replies_name_the_changes(broker: Server, name: str) -> None:
    def changed(method: str) -> str:
        reply = form(broker, method, token=name)
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.json()["ok"] is True
        return str(reply.json()["changed"])

    methods = ["unregisterToken", "registerToken", "registerToken", "unregisterToken", "unregisterToken"]
    assert [changed(method) for method in methods] == ["nothing", "added", "nothing", "disabled", "nothing"]
    assert changed("registerToken") == "enabled"


def test_decision_22_unregistered_token_stays_as_false(broker: Server, name: str) -> None:
    form(broker, "registerToken", token=name)
    form(broker, "unregisterToken", token=name)
    form(broker, "unregisterToken", token=f"{name}-never-registered")

    rows = form(broker, "registeredTokenList").json()

    assert rows[name] is False
    assert f"{name}-never-registered" not in rows


def test_broadcast_says_how_many_where_it_can_be_known(broker: Server, connect: Connect, name: str) -> None:
    clients = [connect(broker, f"{name}/{number}") for number in range(3)]

    reply = form(broker, "broadcast", message=f"{name}/|x").json()

    alone = not broker.env["REDIS_URL"]
    assert reply == ({"ok": True, "delivered_to": 3} if alone else {"ok": True, "accepted": True})
    assert [client.next_frame() for client in clients] == ["x"] * 3


def test_decision_26_broadcast_to_nobody_is_fine(broker: Server) -> None:
    assert form(broker, "broadcast", message="|x").json() == {"ok": True, "delivered_to": 0}


def test_decision_20_clients_by_their_address(broker: Server, connect: Connect, name: str) -> None:
    clients = {token: connect(broker, token) for token in (f"{name}/a", f"{name}/b", None)}
    clients[f"{name}/b"].send(f"RegisterToken:{name}/c")
    expected = {
        clients[f"{name}/a"].peer: f"{name}/a",
        clients[f"{name}/b"].peer: f"{name}/c",
        clients[None].peer: "unregistered",
    }

    wait_until(lambda: expected.items() <= form(broker, "get_clients").json().items())

    gone = clients[f"{name}/a"].peer
    clients[f"{name}/a"].close()
    wait_until(lambda: gone not in form(broker, "get_clients").json())


def test_decision_21_clients_of_all_processes(
    server: ServerFactory, connect: Connect, redis_url: str
) -> None:
    one = server(REDIS_URL=redis_url)
    other = server(REDIS_URL=redis_url, DATABASE_URL=one.database_url)
    here, there = connect(one, "abc1"), connect(other, "abc2")

    wait_until(lambda: form(one, "get_clients").json() == {here.peer: "abc1", there.peer: "abc2"})
    other.stop()

    wait_until(lambda: form(one, "get_clients").json() == {here.peer: "abc1"})


# --- keys -------------------------------------------------------------------------------------------------


def test_decision_17_key_in_any_of_its_places(broker: Server) -> None:
    key = broker.api_key
    query = "/?method=registeredTokenList"
    replies = [
        call(broker, "GET", query),
        call(broker, "GET", query, X_API_Key="", Authorization=f"Bearer {key}"),
        call(broker, "GET", f"{query}&key={key}", X_API_Key=""),
        call(broker, "POST", query, f"key={key}", X_API_Key="", Content_Type=FORM),
        call(broker, "POST", query, {"key": key}, X_API_Key=""),
    ]

    assert [reply.status for reply in replies] == [200] * 5


def test_decision_17_no_other_site_may_read_a_reply(broker: Server) -> None:
    reply = call(broker, "GET", "/?method=get_clients", Origin="https://elsewhere.example")

    assert not [header for header in reply.headers if header.lower().startswith("access-control")]
    assert "no-store" in reply.headers["Cache-Control"]


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "the field method names none of"),
        ({"method": "no such method"}, "the field method names none of"),
        ({"method": "Broadcast"}, "the field method names none of"),
        ({"method": "broadcast"}, "the field message is missing"),
        ({"method": "broadcast", "message": ""}, "the field message is missing"),
        ({"method": "broadcast", "message": "abc1"}, "a message is written receivers|text"),
        ({"method": "broadcast", "message": "abc1|" + "x" * 65536}, "a message has at most 65536 bytes"),
        (
            {"method": "broadcast", "message": ",".join(map(str, range(1001))) + "|x"},
            "at most 1000 receivers",
        ),
        ({"method": "registerToken"}, "the field token or message is missing"),
        ({"method": "unregisterToken"}, "the field token or message is missing"),
        ({"method": "registerToken", "token": " "}, "a token is not empty"),
        ({"method": "registerToken", "token": "a,b"}, "a token holds no comma and no |"),
        ({"method": "registerToken", "token": "a|b"}, "a token holds no comma and no |"),
        ({"method": "registerToken", "token": "a\x00"}, "a token holds no control or invisible characters"),
        ({"method": "unregisterToken", "token": "a\x00"}, "a token holds no control or invisible characters"),
        ({"method": "registerToken", "token": "a" * 256}, "a token has at most 255 characters"),
        ({"method": "registerToken", "token": "unregistered"}, "clients without a token"),
        ({"method": "registerToken", "token": "unregstered"}, "clients without a token"),
        ({"method": "broadcast", "message": 5}, "the field message is not a string"),
        ({"method": "broadcast", "message": "a|\ud800"}, "half of a surrogate pair"),
        ("[]", "the body is not a JSON object"),
        ("{", "the body is not JSON"),
        ("[" * 100_000, "the body is not JSON"),
        (b'{"method": "\xff"}', "the body is not JSON"),
    ],
)
def test_bad_call_is_a_400_with_a_sentence(broker: Server, body: object, sentence: str) -> None:
    reply = call(broker, "POST", "/", body, Content_Type="application/json")

    assert reply.status == 400
    assert sentence in error(reply)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("a&" * 2000, FORM),
        ("x", "multipart/form-data"),
        ("x", "multipart/form-data; boundary=" + "b" * 500),
        ("message=a", f"{FORM}; charset=utf-16"),
    ],
)
def test_unreadable_body_is_a_400(broker: Server, body: str, content_type: str) -> None:
    reply = call(broker, "POST", "/", body, Content_Type=content_type)

    assert reply.status == 400
    assert error(reply)


@pytest.mark.parametrize("method", ["registerHttpClient", "httpClientsList"])
def test_decision_33_http_clients_are_not_served(broker: Server, method: str) -> None:
    reply = form(broker, method, token="abc1", endpoint=f"{broker.url}/hook")

    assert reply.status == 400
    assert error(reply).startswith("the field method names none of")


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_verbs_are_405(broker: Server, verb: str) -> None:
    reply = call(broker, verb, "/?method=get_clients")

    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, POST"
    assert error(reply)


def test_browser_goes_to_the_console(broker: Server) -> None:
    browser = "text/html,application/xhtml+xml,*/*;q=0.8"

    reply = call(broker, "GET", "/", Accept=browser, X_API_Key="")

    assert (reply.status, reply.headers["Location"]) == (302, "/console/")
    assert call(broker, "GET", reply.headers["Location"]).headers["Location"].startswith("/admin/login/")
    assert call(broker, "GET", "/", Accept="*/*").status == 400
    assert call(broker, "GET", "/?method=get_clients", Accept=browser).status == 200
