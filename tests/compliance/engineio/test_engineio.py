"""The checks of the suites of socketio/engine.io-protocol (branches v3 and main, `test-suite/`), and more."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from itertools import chain

import pytest

from routing_app.core.codes import TOO_BIG
from tests.compliance.engineio.client import Answer, Site, Socket, handshake

pytestmark = pytest.mark.once  # nothing here is stored or published


def payload(site: Site, *packets: str) -> str:
    """Packets in the string form of the version."""
    if site.version == 4:
        return "\x1e".join(packets)
    return "".join(f"{len(packet)}:{packet}" for packet in packets)


def packets(site: Site, text: str) -> list[str]:
    """The inverse of `payload`, for packets without digits and colons in their midst."""
    return text.split("\x1e") if site.version == 4 else re.findall(r"\d+:(\d[a-z]\d)", text)


# --- handshake -------------------------------------------------------------------------------------------


async def test_polling_handshake(site: Site) -> None:
    answer = await site.get()

    assert answer.status == 200
    assert answer.text.removeprefix(f"{len(answer.text.partition(':')[2])}:")[0] == "0"
    check_handshake(site, answer.text, ["websocket"])


async def test_the_length_of_a_text_payload_is_in_characters(old: Site) -> None:
    length, _, packet = (await old.get()).text.partition(":")

    assert int(length) == len(packet)


async def test_websocket_handshake(site: Site) -> None:
    async with AsyncExitStack() as stack:
        first = await (await site.socket(stack)).receive()

    assert first[0] == "0"
    check_handshake(site, first, [])


def check_handshake(site: Site, text: str, upgrades: list[str]) -> None:
    found = handshake(text)
    assert isinstance(found.pop("sid"), str)
    expected = {"upgrades": upgrades, "pingInterval": 60_000, "pingTimeout": 60_000}
    assert found == expected | ({"maxPayload": 1_000_000} if site.version == 4 else {})


@pytest.mark.parametrize("version", ["abc", "1", "5"])
async def test_an_unknown_version_is_refused(new: Site, version: str) -> None:
    assert (await new.get(EIO=version)).status == 400
    assert await new.refusal(EIO=version) in (400, 403)


@pytest.mark.parametrize("transport", ["-", "abc", "webtransport"])
async def test_an_unknown_transport_is_refused(site: Site, transport: str) -> None:
    assert (await site.get(transport=transport)).status == 400
    assert await site.refusal(transport=transport) in (400, 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_session_begins_with_get_only(site: Site, method: str) -> None:
    answer = await site.request(method, site.query("polling"))

    assert (answer.status, answer.body) == (400, b'{"code":2,"message":"Bad handshake method"}')


# --- messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packets", [["4hello"], ["4test1", "4test2", "4test3"], ["4"]], ids=len)
async def test_polling_carries_text(site: Site, packets: list[str]) -> None:
    sid = await site.open()

    posted = await site.post(payload(site, *packets), sid)

    assert (posted.status, posted.body) == (200, b"ok")
    assert (await site.get(sid)).text == payload(site, *packets)


async def test_polling_carries_binary_as_base64(new: Site) -> None:
    sid = await new.open()

    assert (await new.post("4hello\x1ebAQIDBA==", sid)).text == "ok"
    assert (await new.get(sid)).text == "4hello\x1ebAQIDBA=="


async def test_version_3_answers_binary_as_base64_where_the_handshake_wants_it(old: Site) -> None:
    sid = await old.open(b64="1")

    assert (await old.post("6:4hello10:b4AQIDBA==", sid)).text == "ok"
    assert (await old.get(sid)).text == "6:4hello10:b4AQIDBA=="


async def test_version_3_answers_binary_in_the_binary_form_otherwise(old: Site) -> None:
    sid = await old.open()

    await old.post("6:4hello10:b4AQIDBA==", sid)

    answer = await old.get(sid)
    assert answer.body == b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04"
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_version_3_takes_the_binary_form(old: Site) -> None:
    sid = await old.open(b64="1")
    body = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04\x00\x04\xff4" + "€".encode()

    posted = await old.post(body, sid, content_type="application/octet-stream")

    assert posted.text == "ok"
    assert (await old.get(sid)).text == "6:4hello10:b4AQIDBA==2:4€"


async def test_version_3_answers_the_binary_form_to_a_client_that_busts_caches(old: Site) -> None:
    """As the original does for all; socketIO-client-2 reads nothing else."""
    answer = await old.get(t="1-0")
    length = 3 + len(str(len(answer.body) - 5)) - 1
    sid = str(handshake(answer.body.decode("latin-1"))["sid"])

    assert answer.body[0] == 0
    assert 0xFF in answer.body[: length + 2]
    await old.post("6:4hello", sid)
    assert (await old.get(sid, t="1-1")).body == b"\x00\x06\xff4hello"


@pytest.mark.parametrize("body", ["abc", "", "9:4short", "x:4", "4:4hello"])
async def test_a_payload_that_is_none_ends_the_session(site: Site, body: str) -> None:
    sid = await site.open()

    assert (await site.post(body if site.version == 3 else "abc" + body, sid)).status == 400
    assert (await site.get(sid)).status == 400


async def test_a_second_poll_ends_the_session(site: Site) -> None:
    sid = await site.open(b64="1")

    first = await site.begin_poll(sid)
    second = await site.get(sid)

    assert second.status == 400
    assert ((await first).status, (await first).text) == (200, payload(site, "1"))
    assert (await site.get(sid)).status == 400


async def test_websocket_carries_text(site: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(site, stack)
        await socket.send("4hello", "4", "4é𝄞")

        assert [await socket.receive() for _ in range(3)] == ["4hello", "4", "4é𝄞"]


@pytest.mark.parametrize(("version", "frame"), [(3, b"\x04\x01\x02\x03"), (4, b"\x01\x02\x03\x04")])
async def test_websocket_carries_binary(port: int, version: int, frame: bytes) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(Site(port, version), stack)
        await socket.send(frame)

        assert await socket.receive() == frame


async def test_websocket_ends_with_a_packet_that_is_none(site: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(site, stack)
        await socket.send("abc")

        await socket.closed()


async def opened(site: Site, stack: AsyncExitStack) -> Socket:
    socket = await site.socket(stack)
    assert (await socket.receive())[0] == "0"
    return socket


# --- heartbeat -------------------------------------------------------------------------------------------


async def test_polling_heartbeat_of_version_4(pinging_port: int) -> None:
    new = Site(pinging_port)
    sid = await new.open()

    for _ in range(3):
        assert (await new.get(sid)).text == "2"
        assert (await new.post("3", sid)).status == 200


async def test_polling_heartbeat_of_version_3(old: Site) -> None:
    sid = await old.open(b64="1")

    for _ in range(3):
        assert (await old.post("1:2", sid)).status == 200
        assert (await old.get(sid)).text == "1:3"


async def test_websocket_heartbeat(pinging: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(pinging, stack)
        for _ in range(3):
            if pinging.version == 4:
                assert await socket.receive() == "2"
                await socket.send("3")
            else:
                await socket.send("2")
                assert await socket.receive() == "3"


async def test_a_silent_session_ends_on_either_transport(pinging: Site) -> None:
    sid = await pinging.open()
    async with AsyncExitStack() as stack:
        await (await opened(pinging, stack)).closed()

    assert (await pinging.get(sid)).status == 400
    assert (await pinging.post(payload(pinging, "2" if pinging.version == 3 else "3"), sid)).status == 400


# --- the end ---------------------------------------------------------------------------------------------


async def test_close_packet_ends_a_polling_session(site: Site) -> None:
    sid = await site.open(b64="1")

    poll = await site.begin_poll(sid)
    assert (await site.post(payload(site, "1"), sid)).status == 200

    assert ((await poll).status, (await poll).text) == (200, payload(site, "6"))
    assert (await site.get(sid)).status == 400


async def test_close_packet_ends_a_websocket(site: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(site, stack)
        await socket.send("1")

        await socket.closed()


# --- upgrade ---------------------------------------------------------------------------------------------


async def test_upgrade(site: Site) -> None:
    async with AsyncExitStack() as stack:
        sid = await site.open(b64="1")
        socket = await site.socket(stack, sid)
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert (await site.get(sid)).text == payload(site, "6")
        await socket.send("5", "4hello")

        assert await socket.receive() == "4hello"


async def test_the_poll_that_waits_ends_when_the_probe_comes(site: Site) -> None:
    async with AsyncExitStack() as stack:
        sid = await site.open(b64="1")
        poll = await site.begin_poll(sid)
        socket = await site.socket(stack, sid)
        await socket.send("2probe")

        assert await socket.receive() == "3probe"
        assert (await poll).text == payload(site, "6")


async def test_before_the_probe_polls_wait_as_ever(site: Site) -> None:
    """A WebSocket that opens and says nothing, behind a proxy that holds it back, must not make them spin."""
    async with AsyncExitStack() as stack:
        sid = await site.open(b64="1")
        socket = await site.socket(stack, sid)
        poll = await site.begin_poll(sid)
        await site.post(payload(site, "4hello"), sid)

        assert (await poll).text == payload(site, "4hello")
        await socket.send("2probe")
        assert await socket.receive() == "3probe"


async def test_after_the_upgrade_polling_is_refused(site: Site) -> None:
    async with AsyncExitStack() as stack:
        sid, socket = await upgraded(site, stack)

        assert (await site.get(sid)).status == 400
        assert (await site.post(payload(site, "4x"), sid)).status == 400
        await socket.send("4hello")
        assert await socket.receive() == "4hello"


async def test_after_the_upgrade_a_second_websocket_is_closed(site: Site) -> None:
    async with AsyncExitStack() as stack:
        sid, socket = await upgraded(site, stack)

        await (await site.socket(stack, sid)).closed()
        await socket.send("4hello")
        assert await socket.receive() == "4hello"


async def upgraded(site: Site, stack: AsyncExitStack) -> tuple[str, Socket]:
    sid = await site.open(b64="1")
    socket = await site.socket(stack, sid)
    await socket.send("2probe")
    assert await socket.receive() == "3probe"
    await socket.send("5", "4moved")
    assert await socket.receive() == "4moved"
    return sid, socket


async def test_packets_that_waited_for_a_poll_go_over_the_websocket(site: Site) -> None:
    async with AsyncExitStack() as stack:
        sid = await site.open(b64="1")
        await site.post(payload(site, "4one", "4two"), sid)
        socket = await site.socket(stack, sid)
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        await socket.send("5", "4three")

        assert [await socket.receive() for _ in range(3)] == ["4one", "4two", "4three"]


async def test_a_failed_probe_leaves_the_session_on_polling(site: Site) -> None:
    async with AsyncExitStack() as stack:
        sid = await site.open(b64="1")
        socket = await site.socket(stack, sid)
        await socket.send("2prob")
        await socket.closed()

        await site.post(payload(site, "4still here"), sid)
        assert (await site.get(sid)).text == payload(site, "4still here")


async def test_an_upgrade_to_an_unknown_session_is_refused(site: Site) -> None:
    assert await site.refusal("no-such-session") in (400, 403)


# --- what is around it -----------------------------------------------------------------------------------


async def test_cross_origin_requests_are_answered_as_the_originals_do(site: Site) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    target = site.query("polling")

    alone, foreign = await site.get(), await site.request("GET", target, headers=origin)
    preflight = await site.request("OPTIONS", target, headers=origin)

    assert alone.headers["access-control-allow-origin"] == "*"
    for answer in (foreign, preflight):
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"
    assert preflight.status == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]


async def test_an_oversized_payload_is_refused(site: Site) -> None:
    sid = await site.open(b64="1")

    assert (await site.post(payload(site, "4" + "x" * 1_000_000), sid)).status == 413
    assert (await site.get(sid)).status == 400


async def test_an_oversized_packet_is_refused(site: Site) -> None:
    async with AsyncExitStack() as stack:
        socket = await opened(site, stack)
        await socket.send("4" + "x" * 1_000_000)
        assert await socket.closed() in (TOO_BIG.code, TOO_BIG.portable)


async def test_packets_of_several_posts_keep_their_order(site: Site) -> None:
    sid = await site.open(b64="1")
    for number in range(9):
        await site.post(payload(site, f"4a{number}", f"4b{number}"), sid)

    received: list[str] = []
    while len(received) < 18:
        answer: Answer = await site.get(sid)
        some = packets(site, answer.text)
        assert 1 <= len(some) <= 16
        received += some
    assert received == [*chain.from_iterable((f"4a{number}", f"4b{number}") for number in range(9))]
