"""REST: the bodies and status codes of the protocol's page, and what players' browsers need."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from tests.conftest import ServerFactory
from tests.services.limits import add_limit
from tests.sessions.conftest import EXPIRED, TERMINATE, Broker, Customer, Play, Visit
from tests.sessions.http import Http


async def test_create_answers_200_with_the_endpoint(customer: Customer) -> None:
    reply = await customer.create(sessionName="Living room")

    assert reply.status == 200
    assert set(reply.json) == {"endpoint", "enabled", "sessionId", "sessionName"}
    assert reply.json["enabled"] is True
    assert reply.json["sessionName"] == "Living room"
    url = urlsplit(reply.json["endpoint"])
    assert (url.scheme, url.netloc, url.path) == ("ws", urlsplit(customer.broker.server.url).netloc, "/")
    claims = jwt.decode(parse_qs(url.query)["token"][0], options={"verify_signature": False})
    assert set(claims) == {"sid", "cid", "pid", "iat", "exp", "aud"}
    assert (claims["sid"], claims["cid"]) == (reply.json["sessionId"], customer.id)
    assert (claims["pid"], claims["aud"], claims["exp"] - claims["iat"]) == ("demo", "drisc", 86400)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", "image/png"])
async def test_body_is_json_under_any_content_type(customer: Customer, content_type: str) -> None:
    reply = await customer.http.request(
        "POST", "/sessions", {"tag": "live"}, customer.token, content_type=content_type
    )

    assert reply.status == 200


async def test_limit_exceeded_names_the_limit_and_the_sessions(customer: Customer) -> None:
    customer.limit("offer", 2)
    first, second = await customer.create(sessionName="TV"), await customer.create()

    reply = await customer.create()

    assert reply.status == 409
    assert set(reply.json) == {"code", "message", "details"}
    assert reply.json["code"] == "LimitExceeded"
    assert reply.json["message"] == "Limit of 2 for offer film reached."
    details = reply.json["details"]
    assert set(details) == {"takeOverEnabled", "limit", "activeSessions"}
    assert (details["takeOverEnabled"], details["limit"]) == (True, 2)
    one, two = details["activeSessions"]
    assert set(one) == {"sessionId", "name", "startedAt", "offerId"}
    assert (one["sessionId"], one["name"], one["offerId"]) == (first.json["sessionId"], "TV", "film")
    assert (two["sessionId"], two["name"]) == (second.json["sessionId"], "film")


async def test_list_is_empty_where_takeover_is_off(customer: Customer) -> None:
    customer.limit("tag", 1, "block")
    await customer.create(tag="live")

    reply = await customer.create(tag="live")

    assert reply.status == 409
    assert reply.json["details"] == {"takeOverEnabled": False, "limit": 1, "activeSessions": []}


async def test_the_refusal_names_the_limit_that_bit_among_several(customer: Customer) -> None:
    customer.limit("account", 3)
    customer.limit("offer", 2)
    customer.limit("content", 1, value="trailer")
    customer.limit("device_type", 1, value="tv")
    await customer.create(contentId="trailer", deviceType="tv")

    trailer = await customer.create(contentId="trailer")
    television = await customer.create(deviceType="tv")
    await customer.create()
    film = await customer.create()
    await customer.create(offerId="series")
    account = await customer.create(offerId="news")

    refused = [reply.json["message"] for reply in (trailer, television, film, account)]
    assert refused == [
        "Limit of 1 for content trailer reached.",
        "Limit of 1 for device type tv reached.",
        "Limit of 2 for offer film reached.",
        "Limit of 3 for account reached.",
    ]


async def test_oldest_is_evicted_where_the_policy_says_so(customer: Customer, play: Play) -> None:
    customer.limit("offer", 2, "evict_oldest")
    oldest = await play(await customer.create(sessionName="old"))
    await customer.create()

    assert (await customer.create(sessionName="new")).status == 200
    assert await oldest.receives() == {"action": "TAKE_OVER", "sessionName": "new"}
    assert await oldest.receives() == ("closed", 4002)
    assert customer.rows() == 2
    assert customer.events("evicted", "denied") == ["evicted"]


async def test_limit_that_observes_refuses_nothing_and_is_noted(customer: Customer) -> None:
    customer.limit("offer", 5)
    customer.limit("offer", 1, "block", observe=True)

    replies = [await customer.create() for _ in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 200]
    assert customer.events("denied") == ["denied", "denied"]


async def test_pools_of_offers_and_tags_are_apart(customer: Customer) -> None:
    customer.limit("offer", 1)
    customer.limit("tag", 1)

    replies = [await customer.create(offerId="film"), await customer.create(offerId="series")]
    replies += [await customer.create(tag="film"), await customer.create(tag="series")]

    assert [reply.status for reply in replies] == [200] * 4
    assert (await customer.create(tag="film")).status == 409


async def test_takeover_ends_the_victim_and_names_the_winner(customer: Customer, play: Play) -> None:
    customer.limit("offer", 1)
    created = await customer.create(sessionName="TV")
    victim = await play(created)

    won = await customer.take_over(sessionName="Phone", sessionId=created.json["sessionId"])

    assert won.status == 200
    assert await victim.receives() == {"action": "TAKE_OVER", "sessionName": "Phone"}
    assert await victim.receives() == ("closed", 4002)
    await play(won)
    assert await (await play(created, bind=False)).requested() == EXPIRED
    assert customer.events("taken_over") == ["taken_over"]
    assert customer.rows() == 1


async def test_takeover_of_several_ends_them_all_or_none(customer: Customer) -> None:
    customer.limit("offer", 3)
    ids = [(await customer.create()).json["sessionId"] for _ in range(3)]

    missed = await customer.take_over(sessionIds=[ids[0], str(uuid.uuid4())])
    assert missed.status == 404
    assert customer.rows() == 3

    won = await customer.take_over(sessionIds=ids)
    assert won.status == 200
    assert customer.rows() == 1
    assert customer.events("taken_over") == ["taken_over"] * 3


async def test_victim_that_is_named_twice_ends_once(customer: Customer) -> None:
    customer.limit("offer", 1)
    id = (await customer.create()).json["sessionId"]

    won = await customer.take_over(sessionIds=[id, id.upper(), id.replace("-", "")])

    assert won.status == 200
    assert customer.events("taken_over") == ["taken_over"]
    assert customer.rows() == 1


async def test_takeover_that_would_still_be_over_the_limit_changes_nothing(customer: Customer) -> None:
    customer.limit("offer", 1)
    film = (await customer.create(offerId="film")).json["sessionId"]
    series = (await customer.create(offerId="series")).json["sessionId"]

    reply = await customer.take_over(offerId="film", sessionId=series)

    assert reply.status == 409
    assert {listed["sessionId"] for listed in await customer.listed()} == {film, series}


async def test_takeover_of_somebody_elses_session_is_404_as_of_none(customer: Customer) -> None:
    other = Customer(customer.broker, customer.http)
    theirs = (await other.create()).json["sessionId"]

    replies = [await customer.take_over(sessionId=id) for id in (theirs, str(uuid.uuid4()), "no uuid")]

    assert [reply.status for reply in replies] == [404] * 3
    assert len({reply.body for reply in replies}) == 1
    assert other.rows() == 1


async def test_takeover_that_the_operator_does_not_offer_is_403(customer: Customer) -> None:
    customer.limit("offer", 1, "block")
    id = (await customer.create()).json["sessionId"]

    reply = await customer.take_over(sessionId=id)

    assert (reply.status, reply.json["code"]) == (403, "TakeoverDisabled")
    assert customer.rows() == 1


async def test_same_device_gets_its_slot_again(customer: Customer, play: Play) -> None:
    customer.limit("offer", 1)
    first = await customer.create(deviceId="d1", sessionName="before")
    old = await play(first)

    again = await customer.create(deviceId="d1", sessionName="after")
    assert again.status == 200
    assert again.json["sessionId"] == first.json["sessionId"]
    assert (await customer.create(deviceId="d2")).status == 409
    await play(again)

    assert await old.receives() == TERMINATE
    assert [listed["name"] for listed in await customer.listed()] == ["after"]
    assert customer.events("created", "finished", "expired") == ["created"]


async def test_own_sessions_are_listed_with_their_devices_and_can_be_ended(
    customer: Customer, play: Play
) -> None:
    created = await customer.create(
        sessionName="TV", deviceId="d1", deviceName="Samsung", deviceType="tv", contentId="c1"
    )
    player = await play(created)
    other = Customer(customer.broker, customer.http)

    [listed] = await customer.listed()
    started = listed.pop("startedAt")
    id = created.json["sessionId"]
    assert started.endswith("+00:00")
    assert listed == {
        "sessionId": id,
        "name": "TV",
        "offerId": "film",
        "contentId": "c1",
        "deviceId": "d1",
        "deviceName": "Samsung",
        "deviceType": "tv",
    }
    assert await other.listed() == []
    assert (await customer.http.request("DELETE", f"/sessions/{id}", token=other.token)).status == 404
    assert (await customer.http.request("DELETE", f"/sessions/{id}", token=customer.token)).status == 204
    assert await player.receives() == TERMINATE
    assert (await customer.http.request("DELETE", f"/sessions/{id}", token=customer.token)).status == 404
    assert await customer.listed() == []
    assert customer.events("finished") == ["finished"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"offerId": "a", "tag": "b"},
        {"offerId": "", "tag": None},
        {"offerId": 7},
        {"offerId": ["a"]},
        {"offerId": "a", "sessionName": "n" * 101},
        {"offerId": "a", "sessionName": 5},
        {"offerId": "a" * 256},
        {"offerId": "a\x00b"},
        {"offerId": "a", "deviceId": "\x1b[31m"},
        {"offerId": "a", "contentId": "c" * 256},
        [],
        "text",
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b'{"offerId": "\\ud800"}',
        b'{"offerId": NaN}',
        b"[" * 15000,
    ],
    ids=lambda body: repr(body)[:40],
)
async def test_bodies_without_sense_are_400_without_details(customer: Customer, body: object) -> None:
    sent = b"null" if body is None else body
    for path in ("/sessions", "/takeover"):
        reply = await customer.http.request("POST", path, sent, customer.token)
        assert reply.status == 400
        assert set(reply.json) == {"code", "message"}
    assert customer.rows() == 0


@pytest.mark.parametrize(
    "victims",
    [{}, {"sessionId": 1}, {"sessionIds": "a"}, {"sessionIds": []}, {"sessionIds": [1]},
     {"sessionId": "a", "sessionIds": ["a"]}, {"sessionIds": ["a"] * 101}],
    ids=lambda victims: repr(victims)[:40],
)  # fmt: skip
async def test_takeover_without_sense_is_400(customer: Customer, victims: dict[str, object]) -> None:
    distinct = {name: [f"{n}" for n in range(101)] if value == ["a"] * 101 else value
                for name, value in victims.items()}  # fmt: skip
    assert (await customer.take_over(**distinct)).status == 400


async def test_longest_names_are_accepted(customer: Customer) -> None:
    reply = await customer.create(sessionName="ü" * 100, offerId="o" * 255, deviceId="d" * 255)

    assert reply.status == 200
    assert reply.json["sessionName"] == "ü" * 100


async def test_large_bodies_are_413(customer: Customer) -> None:
    for size in (20_000, 100_000):
        reply = await customer.http.request("POST", "/sessions", b" " * size, customer.token)
        assert reply.status == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/sessions"), ("GET", "/takeover"), ("GET", "/sessions/x"), ("GET", "/sessions/x/heartbeat")],
)
async def test_other_methods_are_405(customer: Customer, method: str, path: str) -> None:
    reply = await customer.http.request(method, path, token=customer.token)

    assert (reply.status, reply.json["code"]) == (405, "MethodNotAllowed")
    assert "OPTIONS" in reply.headers["allow"]


async def test_preflight_lets_any_page_send_a_token(http: Http) -> None:
    for path in ("/sessions", "/takeover", "/sessions/x", "/sessions/x/heartbeat"):
        reply = await http.request(
            "OPTIONS",
            path,
            Origin="https://player.example",
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization",
        )
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "Authorization" in reply.headers["access-control-allow-headers"]
        assert "Content-Type" in reply.headers["access-control-allow-headers"]
        assert "OPTIONS" in reply.headers["access-control-allow-methods"]


async def test_refusals_can_be_read_by_the_page_too(customer: Customer) -> None:
    for token in ("", customer.token):
        reply = await customer.http.request("POST", "/sessions", {}, token, Origin="https://player.example")
        assert reply.status in (400, 401)
        assert reply.headers["access-control-allow-origin"] == "*"


async def test_missing_token_is_401(http: Http) -> None:
    for value in ("Basic abc", "Bearer", "Bearer ", "Bearer a b c", "bearer é"):
        reply = await http.request("POST", "/sessions", {"tag": "live"}, Authorization=value)
        assert (reply.status, reply.json["code"]) == (401, "Unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "details" not in reply.json


async def test_customer_id_may_be_a_number(broker: Broker, http: Http) -> None:
    token = broker.token("", customerId=290117)

    assert (await http.request("POST", "/sessions", {"tag": "live"}, token)).status == 200


async def test_heartbeat_of_an_unknown_session_is_404(customer: Customer) -> None:
    for id in (str(uuid.uuid4()), "x"):
        reply = await customer.http.request("POST", f"/sessions/{id}/heartbeat", token=customer.token)
        assert (reply.status, reply.json["code"]) == (404, "SessionNotFound")


async def test_endpoint_rate_and_proxy_are_as_the_settings_say(server: ServerFactory, visit: Visit) -> None:
    broker = Broker(server(TRUSTED_PROXIES="127.0.0.1"))
    add_limit(broker.server, "sessions", "create", "identity", rate=0.01, burst=2)
    customer = visit(broker)
    body = {"tag": "live"}

    plain = await customer.create(**body)
    behind = await customer.http.request(
        "POST", "/sessions", body, customer.token, X_Forwarded_Proto="https", X_Forwarded_Host="evil.example"
    )
    refused = await customer.create(**body)

    assert plain.json["endpoint"].startswith(f"ws://127.0.0.1:{broker.server.port}/?token=")
    assert behind.json["endpoint"].startswith(f"wss://127.0.0.1:{broker.server.port}/?token=")
    assert (refused.status, refused.json["code"]) == (429, "RateLimited")
    assert 1 < int(refused.headers["retry-after"]) <= 100, "the next one in a hundred seconds"
    assert (await visit(broker).create(**body)).status == 200, "the rate is of one customer"


async def test_forwarded_headers_of_strangers_are_not_believed(customer: Customer) -> None:
    reply = await customer.http.request(
        "POST", "/sessions", {"tag": "live"}, customer.token, X_Forwarded_Proto="https"
    )

    assert reply.json["endpoint"].startswith("ws://")
