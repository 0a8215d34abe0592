"""Hooks of the requests protocol: subscriptions, messages, and handlers that are somewhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.hooks.backend import ALLOW, Asked, Backend, Hooks, Raw, Reset, call
from tests.requests.peer import Peer
from tests.services.issuing import add_issuer, token
from tests.services.server import Server

REFUSE = {"allow": False, "reason": "not today"}
REFUSED = {"direction": "ERROR", "code": "forbidden", "message": "not today"}
UNAVAILABLE = "unavailable"
NOT_ALLOWED = "The backend does not allow it."


@pytest.fixture
def peer(broker: Server) -> Iterator[Peer]:
    one = Peer(broker, f"?key={broker.api_key}&shop=7", additional_headers={"User-Agent": "test/1"})
    yield one
    one.close()


def test_a_question_has_its_fields_and_a_signature(broker: Server, backend: Backend, peer: Peer, name: str):
    route = backend.route()
    hooks = Hooks(broker, backend)
    row = {"protocol": "requests", "on": "publish", "pattern": f"token:{name}*", "url": route.url}
    more = {"headers": ["User-Agent", "X-None"], "timeout": 60_000}
    made = hooks.call("POST", "/api/hooks/", {**row, **more})
    try:
        assert "code" not in peer.ask("publish", addresses=[f"token:{name}"], message={"a": [1]})
        peer.ask("publish", addresses=[f"token:{name}"], message="é")
    finally:
        hooks.call("DELETE", f"/api/hooks/{made['id']}/")

    first, second = route.asked
    assert first.headers["content-type"] == "application/json"
    for asked in route.asked:
        Webhook(made["secret"]).verify(asked.raw, asked.headers)
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    host, port = peer.socket.local_address[:2]
    assert first.body == {
        "on": "publish",
        "protocol": "requests",
        "connection": peer.id,
        "peer": f"{host}:{port}",
        "identity": peer.ask("whoami")["name"],
        "headers": {"user-agent": "test/1"},
        "query": "key=***&shop=7",
        "address": f"token:{name}",
        "message": {"a": [1]},
    }
    assert second.body["message"] == "é"


def test_a_refused_message_reaches_nobody(hooks: Hooks, peer: Peer, name: str):
    one, other = f"token:{name}1", f"token:{name}2"
    peer.ask("subscribe", addresses=[one, other])
    with hooks.hook("requests", "publish", other, REFUSE):
        assert peer.ask("publish", addresses=[one, other], message=1) == REFUSED
        assert publish(peer, [one], 2) == [2]
    assert publish(peer, [other], 3) == [3]


def publish(peer: Peer, addresses: list[str], message: Any) -> list[Any]:
    """Publish; what the peer has received since."""
    peer.send(
        {"type": "publish", "direction": "REQUEST", "key": "p", "addresses": addresses, "message": message}
    )
    return [frame["message"] for frame in peer.silent() if frame.get("type") == "delivery"]


def test_messages_are_replaced_one_hook_after_the_other(hooks: Hooks, peer: Peer, name: str):
    def adding(letter: str) -> Callable[[Asked], Any]:
        return lambda asked: {"allow": True, "message": asked.body["message"] + letter}

    address = f"token:{name}"
    peer.ask("subscribe", addresses=[address])
    with (
        hooks.hook("*", "publish", address, adding("b")) as first,
        hooks.hook("requests", "publish", f"token:{name[:4]}*", adding("c")) as second,
    ):
        assert publish(peer, [address], "a") == ["abc"]
        answer = peer.ask("publish_batch", messages=[{"addresses": [address], "message": "d"}])
        assert "error" not in answer["results"][0]
    assert [one["message"] for one in (*first.bodies, *second.bodies)] == ["a", "d", "ab", "db"]


def test_a_message_of_a_batch_is_refused_alone(hooks: Hooks, peer: Peer, name: str):
    address = f"token:{name}"
    only_even = lambda asked: {"allow": asked.body["message"] % 2 == 0}  # noqa: E731
    peer.ask("subscribe", addresses=[address])
    with hooks.hook("requests", "publish", address, only_even):
        messages = [{"addresses": [address], "message": number} for number in range(4)]
        peer.send({"type": "publish_batch", "direction": "REQUEST", "key": "b", "messages": messages})
        frames = peer.silent()
    assert [frame["message"] for frame in frames if frame.get("type") == "delivery"] == [0, 2]
    (answer,) = (frame for frame in frames if frame.get("key") == "b")
    assert [result.get("error") for result in answer["results"]] == [None, NOT_ALLOWED, None, NOT_ALLOWED]


def test_a_hook_decides_what_may_be_subscribed_to_and_read(hooks: Hooks, peer: Peer, name: str):
    address = f"token:{name}"
    with hooks.hook("requests", "subscribe", address, REFUSE) as route:
        assert peer.ask("subscribe", addresses=[f"token:{name}x", address]) == REFUSED
        assert peer.ask("history", address=address) == REFUSED
        assert peer.ask("presence", address=address) == REFUSED
        assert peer.ask("whoami")["addresses"] == []
        route.answer = ALLOW
        assert peer.ask("subscribe", addresses=[f"token:{name}x", address])["direction"] == "REPLY"
    assert [body["address"] for body in route.bodies] == [address] * 4


def test_a_message_to_a_group_concerns_the_hooks_of_addresses_below_it(hooks: Hooks, peer: Peer, name: str):
    with hooks.hook("requests", "publish", f"token:{name}/a/secret", REFUSE):
        assert peer.ask("publish", addresses=[f"token:{name}/a/"], message=1) == REFUSED
        assert peer.ask("publish", addresses=[f"token:{name}/b/"], message=1)["direction"] == "REPLY"


# --- handlers that are somewhere else -----------------------------------------------------------------------


def test_a_backend_answers_requests(hooks: Hooks, peer: Peer, name: str):
    type = f"{name}.sum"
    answer = {"partials": [{"n": 1}, {"n": 2}], "reply": {"sum": 3, "key": "not this", "direction": "ERROR"}}
    with hooks.hook("requests", "request", f"{name}.*", answer) as route:
        peer.send({"type": type, "direction": "REQUEST", "key": "s", "numbers": [1, 2]})
        frames = [peer.next() for _ in range(3)]
        route.answer = {"error": {"code": "sold out"}}
        failed = peer.ask(type)
        route.answer = {"error": "sold out", "reply": None, "partials": None}
        said = peer.ask(type)
        route.answer = {"reply": {"sum": 0}, "error": None}
        replied = peer.ask(type)
    assert frames == [
        {"n": 1, "key": "s", "direction": "PARTIAL"},
        {"n": 2, "key": "s", "direction": "PARTIAL"},
        {"sum": 3, "key": "s", "direction": "REPLY"},
    ]
    assert failed == {"code": "sold out", "direction": "ERROR"}
    assert said == {"code": "failed", "message": "sold out", "direction": "ERROR"}
    assert replied == {"sum": 0, "direction": "REPLY"}
    assert route.bodies[0]["address"] == type
    assert route.bodies[0]["message"] == {"type": type, "direction": "REQUEST", "key": "s", "numbers": [1, 2]}
    assert peer.ask(type)["code"] == "unhandled"


def test_a_backend_leaves_a_request_to_the_handler_of_the_server_or_refuses_it(hooks: Hooks, peer: Peer):
    with hooks.hook("requests", "request", "echo", ALLOW) as route:
        assert peer.ask("echo", text="a")["text"] == "a"
        route.answer = REFUSE
        assert peer.ask("echo", text="b") == REFUSED
        route.answer = {"reply": {"text": "c"}}
        assert peer.ask("echo", text="b") == {"text": "c", "direction": "REPLY"}
    assert len(route.asked) == 3


def test_requests_of_the_server_are_not_taken_over(hooks: Hooks, peer: Peer, name: str):
    with hooks.hook("requests", "request", "*", {"reply": {"taken": True}}) as route:
        assert peer.ask("whoami")["id"]
        assert peer.ask("subscribe", addresses=[f"token:{name}"])["direction"] == "REPLY"
        assert peer.ask("anything")["taken"]
    assert [body["address"] for body in route.bodies] == ["anything"]


WRONG = [
    Raw(500, b'{"allow": true}'),
    Raw(302, b"", {"Location": "/"}),
    Raw(200, b"{"),
    [],
    {"allow": 1},
    {"partials": [{}]},
    {"reply": 1},
    {"reply": {}, "error": {}},
    {"error": 1},
    {"error": None},
    {"partials": [1], "reply": {}},
    {"partials": {}, "reply": {}},
    Reset(),
]


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_fail_holds_where_an_answer_is_not_one(hooks: Hooks, peer: Peer, fail: str):
    """Each is followed by a good one, or the breaker would open."""
    with hooks.hook("requests", "request", "echo", fail=fail) as route:
        for answer in WRONG:
            route.answer = answer
            answered = peer.ask("echo", text="a")
            assert (answered.get("code"), answered.get("text")) == (
                (UNAVAILABLE, None) if fail == "closed" else (None, "a")
            )
            route.answer = ALLOW
            assert peer.ask("echo", text="b")["text"] == "b"


def test_messages_of_a_connection_keep_their_order(hooks: Hooks, peer: Peer, name: str):
    """The first answer is held until all frames are with the server: what can overtake it does."""
    address, sent = f"token:{name}", threading.Event()

    def hold(asked: Asked) -> Any:
        if asked.body["message"] == 0:
            sent.wait(60)
        return ALLOW

    peer.ask("subscribe", addresses=[address])
    with hooks.hook("requests", "publish", address, hold):
        for number in range(20):
            peer.send(
                {
                    "type": "publish",
                    "direction": "REQUEST",
                    "key": number,
                    "addresses": [address],
                    "message": number,
                }
            )
        sent.set()
        frames = peer.silent()
    assert [frame["message"] for frame in frames if frame.get("type") == "delivery"] == list(range(20))


def test_a_connection_that_is_sent_away_while_a_backend_is_asked_publishes_nothing(
    broker: Server, hooks: Hooks, peer: Peer, name: str
):
    address, asked, kicked = f"token:{name}", threading.Event(), threading.Event()

    def hold(question: Asked) -> Any:
        asked.set()
        kicked.wait(60)
        return ALLOW

    other = Peer(broker, f"?key={broker.api_key}")
    other.ask("subscribe", addresses=[address])
    id = peer.id
    with hooks.hook("requests", "publish", address, hold):
        peer.send({"type": "publish", "direction": "REQUEST", "addresses": [address], "message": 1})
        assert asked.wait(60)
        assert call(broker, "POST", "/api/disconnect", {"addresses": [f"connection:{id}"]})[0] < 300
        assert peer.close_code()[0] == 4003
        kicked.set()
        assert publish(other, [address], 2) == [2]
    other.close()


def test_a_question_that_waits_holds_up_nobody_else_and_its_message_outlives_its_client(
    broker: Server, hooks: Hooks, peer: Peer, name: str
):
    address, asked, release = f"token:{name}", threading.Event(), threading.Event()

    def hold(question: Asked) -> Any:
        if question.body["message"] == "held":
            asked.set()
            release.wait(60)
        return ALLOW

    peer.ask("subscribe", addresses=[address])
    with hooks.hook("requests", "publish", address, hold):
        slow = Peer(broker, f"?key={broker.api_key}")
        slow.send({"type": "publish", "direction": "REQUEST", "addresses": [address], "message": "held"})
        assert asked.wait(60)
        assert publish(peer, [address], "at once") == ["at once"]
        slow.close()
        release.set()
        assert peer.next()["message"] == "held"


# --- clients of the REST API --------------------------------------------------------------------------------


def test_the_backend_with_a_key_is_not_asked_about_its_own_messages(
    broker: Server, hooks: Hooks, peer: Peer, name: str
):
    with hooks.hook("*", "publish", f"token:{name}", REFUSE) as route:
        status, _ = call(broker, "POST", "/api/publish", {"addresses": [f"token:{name}"], "message": 1})
    assert (status, route.asked) == (200, [])


@pytest.fixture(scope="module")
def customer(broker: Server) -> str:
    """An access token, as a browser has one."""
    add_issuer(broker)
    return token(["*"], ["*"])


def test_a_client_with_an_access_token_cannot_go_around_a_hook_by_http(
    broker: Server, hooks: Hooks, peer: Peer, customer: str, name: str
):
    address = f"token:{name}"
    peer.ask("subscribe", addresses=[address])
    message = {"addresses": [address], "message": "a"}
    with hooks.hook("*", "publish", address, REFUSE) as route:
        assert call(broker, "POST", "/api/publish", message, customer) == (403, {"detail": "not today"})
        assert call(broker, "POST", "/api/publish", {**message, "delay": 1}, customer)[0] == 403
        batch = call(broker, "POST", "/api/publish/batch", {"messages": [message]}, customer)
        assert batch == (200, {"results": [{"error": "not today"}]})
        route.answer = Raw(500)
        assert call(broker, "POST", "/api/publish", message, customer)[0] == 503
        route.answer = {"allow": True, "message": "b"}
        assert call(broker, "POST", "/api/publish", message, customer)[0] == 200
    assert [frame["message"] for frame in peer.silent()] == ["b"]
    assert (route.bodies[0]["protocol"], route.bodies[0]["connection"]) == ("api", None)


def test_a_history_is_read_as_a_subscription(broker: Server, hooks: Hooks, customer: str, name: str):
    with hooks.hook("api", "subscribe", f"token:{name}", REFUSE) as route:
        path = f"/api/history?address=token:{name}"
        assert call(broker, "GET", path, key=customer) == (403, {"detail": "not today"})
        assert call(broker, "GET", path)[0] == 404
    assert len(route.asked) == 1
