"""A client that polls by JSONP alone: scripts in, forms out."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from urllib.parse import quote_plus

import pytest

from tests.compliance.engineio.client import Answer, Site, handshake
from tests.conftest import ServerFactory
from tests.rooms.client import SOCKET_IO, plain, socketio
from tests.rooms.conftest import Pair
from tests.services.server import Server

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process


def payload_in(answer: Answer, callback: str = "3") -> str:
    """The payload of a script."""
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/javascript; charset=UTF-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = f"___eio[{callback}]("
    assert answer.text.startswith(head)
    assert answer.text.endswith(");")
    text: str = json.loads(answer.text.removeprefix(head).removesuffix(");"))
    return text


async def post(site: Site, sid: str, *packets: str) -> Answer:
    """Packets in a form, as clients write it."""
    if site.version == 4:
        payload = "\x1e".join(packets)
    else:
        payload = "".join(f"{len(packet)}:{packet}" for packet in packets)
    written = payload.replace("\\n", "\\\\n").replace("\n", "\\n")
    target = site.query("polling", sid, j="3")
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return await site.request("POST", target, f"d={quote_plus(written)}", headers)


@pytest.mark.parametrize("version", [3, 4])
async def test_a_session_of_scripts_and_forms(
    pair: Pair, stack: AsyncExitStack, room: str, version: int
) -> None:
    """At both workers, with text of all kinds, line breaks and a buffer."""
    here, there = (Site(server.port, version, SOCKET_IO) for server in pair)
    sid = handshake(payload_in(await here.get(j="3", b64="1")))["sid"]
    other = await plain(stack, pair[0], "layout")
    await other.join(room, "other")

    answer = await post(here, sid, "40/layout,", f'42/layout,0["JOIN",{{"room":"{room}","name":"n"}}]')
    assert (answer.text, answer.headers["content-type"]) == ("ok", "text/html")
    received = ""
    while "43/layout,0[]" not in received:
        received += payload_in(await there.get(sid, j="3"))
    for site in (here, there):
        message = "line\nbreak \\n \u2028 é€𝄞 </script>"
        event = json.dumps(["NOTIFY", {"room": room, "message": message}])
        await post(site, sid, f"42/layout,{event}")
        assert (await other.receive())[1]["message"] == message
        await other.say("NOTIFY", {"room": room, "message": message})
        packet = payload_in(await site.get(sid, j="3"))
        assert json.loads(packet[packet.index("[") :])[1]["message"] == message

    sender = await socketio(stack, pair[1], "layout")
    event = json.dumps(["NOTIFY", {"room": room, "message": {"_placeholder": True, "num": 0}}])
    await sender.send(f"451-/layout,{event}")
    await sender.frames.send(b"\x01\x02\x03")
    received = ""
    while ("b4AQID" if version == 3 else "bAQID") not in received:
        received += payload_in(await here.get(sid, j="3"))


async def test_a_callback_without_digits_is_refused(broker: Server) -> None:
    site = Site(broker.port, 4, SOCKET_IO)
    assert (await site.get(j="alert")).status == 400
    assert payload_in(await site.get(j="1](x"), "1").startswith("0{")


async def test_a_form_without_a_payload_ends_the_session(broker: Server) -> None:
    site = Site(broker.port, 4, SOCKET_IO)
    sid = handshake(payload_in(await site.get(j="3")))["sid"]
    answer = await site.request("POST", site.query("polling", sid, j="3"), "x=1")
    assert answer.status == 400
    assert (await site.get(sid, j="3")).status == 400


async def test_a_script_for_a_session_that_polls_in_binary_ends_it(broker: Server) -> None:
    site = Site(broker.port, 3, SOCKET_IO)
    answer = await site.get(t="1")
    sid = handshake(answer.body[answer.body.index(b"{") :].decode())["sid"]
    assert (await site.get(sid, j="3")).status == 400
    assert (await site.get(sid)).status == 400


async def test_jsonp_is_for_servers_that_admit_every_page(server: ServerFactory) -> None:
    """A browser sends no Origin with a script, so that a list of origins could not be held to."""
    site = Site(server(ROOMS_ORIGINS="https://example.org").port, 4, SOCKET_IO)
    assert (await site.get(j="3")).status == 403
    assert (await site.get()).status == 200
