"""Any connection can be asked from any process, by its id."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any

import pytest

from routing_app.requests.errors import ConnectionClosed, RequestError, TooManyPending
from routing_app.requests.pending import Request
from routing_app.requests.remote import as_refusal, finish
from tests.requests.conftest import Connect
from tests.requests.peer import Peer, call
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks

Pair = tuple[Server, Server]


def answer(peer: Peer, *frames: dict[str, Any]) -> dict[str, Any]:
    """Wait for a request of the server and answer it."""
    request = peer.next()
    for frame in frames:
        peer.send({**frame, "key": request["key"]})
    return request


@pytest.fixture(params=["same process", "other process"])
def places(request: pytest.FixtureRequest, two: Pair) -> Pair:
    """Workers of the asked and of the asking connection."""
    return (two[0], two[0]) if request.param == "same process" else two


def test_a_handler_asks_another_connection(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), connect(places[1])
    asking.send({"direction": "REQUEST", "type": "ask other", "key": "k", "id": asked.id, "ask": {"q": 1}})
    got = answer(asked, {"direction": "PARTIAL", "n": 1}, {"direction": "REPLY", "a": {"b": [None]}})

    assert got["q"] == 1
    assert asking.next()["piece"]["n"] == 1
    assert asking.next()["got"]["a"] == {"b": [None]}


def test_its_error_comes_back(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), connect(places[1])
    asking.send({"direction": "REQUEST", "type": "ask other", "key": "k", "id": asked.id, "ask": {}})
    answer(asked, {"direction": "ERROR", "code": "mine"})

    assert asking.next()["error"]["code"] == "mine"


def test_its_close_fails_the_request_with_code_and_reason(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), connect(places[1])
    asking.send({"direction": "REQUEST", "type": "ask other", "key": "k", "id": asked.id, "ask": {}})
    asked.next()
    asked.socket.close(4444, "bye")

    assert asking.next()["closed"] == [4444, "bye"]


def test_it_may_time_out(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), connect(places[1])
    asking.send(
        {"direction": "REQUEST", "type": "ask other", "key": "k", "id": asked.id, "ask": {}, "timeout": 0.3}
    )

    assert asking.next()["timeout"] is True


def test_a_cancelled_request_is_forgotten_where_it_was_asked(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), connect(places[1])
    id = asked.id
    late = []
    for _ in range(3):
        asking.send({"direction": "REQUEST", "type": "give up", "key": "k", "id": id, "ask": {"q": 1}})
        late.append(answer(asked, {"direction": "PARTIAL"})["key"])
        assert asking.next()["cancelled"] is True
    for key in late:
        asked.send({"direction": "REPLY", "key": key})

    assert asked.silent() == []


@pytest.mark.parametrize(
    "error",
    [
        RequestError({"code": "mine"}),
        ConnectionClosed(4000, "bye"),
        TimeoutError("no reply in time"),
        TooManyPending("3 requests wait"),
        ValueError("no key"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_keeps_its_kind_across_processes(error: Exception) -> None:
    request = Request()
    finish(request, *json.loads(json.dumps(as_refusal(error))))

    with pytest.raises(type(error), match=str(error)):
        await request


@pytest.mark.parametrize("id", ["", "nobody", "0123456789abcdef000000000000"])
def test_a_connection_that_never_was_is_told(broker: Server, connect: Connect, id: str) -> None:
    answered = connect(broker).ask("ask other", id=id, ask={}, timeout=60)

    assert answered["closed"][0] == 1006


def test_a_connection_of_the_other_process_that_is_gone_is_told_at_once(two: Pair, connect: Connect) -> None:
    gone = connect(two[0])
    id = gone.id
    gone.close()
    wait_until(lambda: call(two[0], f"/api/connections/{id}/send", {"message": {}})[0] == 404)

    assert connect(two[1]).ask("ask other", id=id, ask={})["closed"] == [1006, "no such connection"]


def test_a_view_asks_a_connection(places: Pair, connect: Connect) -> None:
    asked = connect(places[0])
    path = f"/api/connections/{asked.id}/request"
    replies: list[Any] = []
    caller = threading.Thread(target=lambda: replies.append(call(places[1], path, {"message": {"q": 2}})))
    caller.start()
    answer(asked, {"direction": "PARTIAL", "n": 1}, {"direction": "REPLY", "a": 1})
    caller.join()

    status, body = replies[0]
    assert status == 200
    assert body["reply"]["a"] == 1
    assert [partial["n"] for partial in body["partials"]] == [1]


def test_a_view_tells_why_there_is_no_reply(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), places[1]
    path = f"/api/connections/{asked.id}/request"
    assert call(asking, path, {"message": {}, "timeout": 0.2})[0] == 504
    assert call(asking, path, {"message": "text"})[0] == 400
    assert call(asking, path, {"message": {"key": {"a": 1}}})[0] == 400
    assert call(asking, path, {"message": {}}, key="wrong")[0] == 401
    replies: list[Any] = []
    caller = threading.Thread(target=lambda: replies.append(call(asking, path, {"message": {}})))
    caller.start()
    while caller.is_alive():
        # The first question is answered as well, if it has come: it may have been taken back on its way.
        with suppress(TimeoutError):
            asked.send({"direction": "ERROR", "code": 9, "key": asked.next(timeout=0.1)["key"]})
    caller.join()
    assert replies[0][0] == 409
    assert replies[0][1]["error"]["code"] == 9


def test_a_view_sends_a_message(places: Pair, connect: Connect) -> None:
    told = connect(places[0])
    path = f"/api/connections/{told.id}/send"
    assert call(places[1], path, {"message": {"n": 1}}) == (204, None)
    assert told.next() == {"n": 1}
    receipting = connect(places[0], receipts=True)
    path = f"/api/connections/{receipting.id}/send"
    assert call(places[1], path, {"message": {"n": 1}, "timeout": 0.3})[0] == 504, "no receipt came"


def test_a_script_asks_a_connection(two: Pair, connect: Connect) -> None:
    asked = connect(two[0])
    code = (
        "from routing_app.requests.remote import connection;"
        f"c = connection('{asked.id}');"
        "print(c.request_sync({'q': 1}, timeout=60)[0]['a']);"
        "print(c.request_sync({'q': 2}, timeout=60)[0]['a']);"
        "c.close_sync(4567, 'by a script')"
    )
    outputs: list[str] = []
    script = threading.Thread(target=lambda: outputs.append(two[1].manage("shell", "-v0", "-c", code)))
    script.start()
    answer(asked, {"direction": "REPLY", "a": "first"})
    answer(asked, {"direction": "REPLY", "a": "second"})
    script.join()

    assert outputs[0].split() == ["first", "second"]
    assert asked.close_code() == (4567, "by a script")


def test_a_request_to_a_worker_that_was_killed_fails(mortals: Pair, connect: Connect) -> None:
    survivor, victim = mortals
    asked, asking = connect(victim), connect(survivor)
    asking.send({"direction": "REQUEST", "type": "ask other", "key": "k", "id": asked.id, "ask": {}})
    asked.next()
    victim.kill()

    frames = iter(lambda: asking.next(timeout=60), None)
    # A worker that has died may have taken messages along: a gap is told, before or behind the answer.
    assert next(one for one in frames if one.get("type") != "gap")["closed"] == [1006, "its worker is gone"]


def test_many_requests_at_once_get_their_own_replies(places: Pair, connect: Connect) -> None:
    asked, asking = connect(places[0]), connect(places[1])
    id = asked.id
    for n in range(90):
        asking.send({"direction": "REQUEST", "type": "ask other", "key": n, "id": id, "ask": {"n": n}})
    questions = [asked.next() for _ in range(90)]
    for question in reversed(questions):
        asked.send({"direction": "PARTIAL", "key": question["key"], "n": question["n"]})
        asked.send({"direction": "REPLY", "key": question["key"], "n": question["n"]})
    frames = [asking.next() for _ in range(180)]

    pieces = {frame["key"]: frame["piece"]["n"] for frame in frames if frame["direction"] == "PARTIAL"}
    replies = {frame["key"]: frame["got"]["n"] for frame in frames if frame["direction"] == "REPLY"}
    assert pieces == replies == {n: n for n in range(90)}
