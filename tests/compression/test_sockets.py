"""Compressed messages between a server and real clients, and a server without them that is as it was."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.interop.cast import Kind
from tests.interop.puppet import FOLDER, Puppet
from tests.server.plain import Raw, client_frame, handshake
from tests.server.test_deflate import DECLINED, OFFERS, UNREADABLE, squeezed
from tests.services.browser import Browser
from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK
from tests.services.server import Server

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

NODE = ("node", str(REPOSITORY / "tests" / "compression" / "ws.mjs"))
BROWSERS_OFFER = "permessage-deflate; client_max_window_bits"
ROW = '{"id":1001,"name":"ánna"},'


@pytest.fixture(scope="module")
def node_modules() -> None:
    """The npm packages; `make test` installs them before the tests."""
    if not (FOLDER / "node_modules" / "ws").exists():
        pytest.skip("WS IS NOT TESTED: npm could not install tests/interop")


async def node(*arguments: str, stdin: str = "") -> list[Any]:
    """The JSON lines that `ws.mjs` writes."""
    process = await asyncio.create_subprocess_exec(
        *NODE, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


async def raw(server: Server, path: str, offer: str | None = None) -> Raw:
    """A client that inflates nothing, after its handshake."""
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port, limit=2**20)
    client = Raw(reader, writer)
    await client.request(handshake(path, sec_websocket_extensions=offer))
    return client


async def first_byte_and_payload(client: Raw) -> tuple[int, bytes]:
    first, second = await asyncio.wait_for(client.reader.readexactly(2), 60)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await client.reader.readexactly(2 if size == 126 else 8), "big")
    return first, await client.reader.readexactly(size)


def inflated(payload: bytes) -> str:
    return zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff").decode()


def is_compressing(client: ClientConnection) -> bool:
    return bool(client.protocol.extensions)


# --- negotiation ------------------------------------------------------------------------------------------


def _headers() -> Iterator[bytes]:
    for offer in OFFERS:
        values = offer.values[0]
        assert isinstance(values, list)
        if values:
            yield b",".join(value.strip() for value in values)
    yield from DECLINED
    yield from UNREADABLE


def answered(value: bytes) -> dict[str, Any]:
    """The parameters of an answer, as `ws` has them."""
    words = [word.strip().partition(b"=") for word in value.split(b";")[1:]]
    return {name.decode(): int(value) if value else True for name, _, value in words}


OTHERWISE = {
    *DECLINED,
    b",permessage-deflate,,",
    b"permessage-deflate; server_max_window_bits = 9",
    b"permessage-deflate; server_max_window_bits=7, permessage-deflate; level=9, permessage-deflate",
}
"""Headers that `ws` answers in another way: it refuses a wrong parameter, takes `09`, and knows neither empty
elements nor spaces beside `=`."""


@pytest.mark.usefixtures("node_modules")
async def test_every_header_is_answered_as_ws_answers_it() -> None:
    from switchboard_server.deflate import HEADER, negotiate
    from switchboard_server.handshake import HandshakeError

    headers = list(_headers())
    lines = [json.dumps({"header": header.decode("latin-1")}) for header in headers]
    theirs = await node("answers", stdin="\n".join(lines) + "\n")

    for header, their in zip(headers, theirs, strict=True):
        ours: Any
        try:
            agreed = negotiate([(HEADER, header)])
        except HandshakeError:
            ours = "refused"
        else:
            ours = None if agreed is None else answered(agreed.answer)
        assert (ours == their) is (header not in OTHERWISE), header


@pytest.mark.parametrize("offer", ["permessage-deflate;", ","])
async def test_a_header_that_cannot_be_read_is_400(broker: Server, offer: str) -> None:
    client = await raw(broker, "/ws?RegisterToken=x", offer)

    assert client.status == 400
    await client.close()


@pytest.mark.parametrize(
    "offer", ["permessage-bzip2; level=9", "permessage-deflate; server_max_window_bits=16"]
)
async def test_another_offer_is_declined(broker: Server, offer: str) -> None:
    client = await raw(broker, "/ws?RegisterToken=x", offer)

    assert client.status == 101
    assert b"extensions" not in client.head.lower()
    await client.close()


# --- messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="nothing asked"),
        pytest.param({"server_max_window_bits": 9}, id="small window of the server"),
        pytest.param({"client_max_window_bits": 9}, id="small window of the client"),
        pytest.param(
            {"server_no_context_takeover": True, "client_no_context_takeover": True}, id="no context"
        ),
    ],
)
async def test_messages_of_any_size_go_both_ways(broker: Server, options: dict[str, Any]) -> None:
    extensions = [ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **options})]
    url = f"{broker.ws_url}/ws?RegisterToken={secrets.token_hex(4)}"
    async with connect(url, compression=None, extensions=extensions) as client:
        assert is_compressing(client)
        for size in (0, 1, 255, 256, 1000, 5000, 60_000):
            text = (ROW * (size // len(ROW) + 1))[:size]
            await client.send(f"Echo:{text}")
            assert await asyncio.wait_for(client.recv(), 60) == text


async def test_a_fragmented_compressed_message_is_read(broker: Server) -> None:
    url = f"{broker.ws_url}/ws?RegisterToken={secrets.token_hex(4)}"
    async with connect(url) as client:
        assert is_compressing(client)
        await client.send(iter(["Echo:", ROW * 10, ROW * 100]))
        assert await asyncio.wait_for(client.recv(), 60) == ROW * 110


async def test_receivers_with_and_without_compression_share_a_message(broker: Server) -> None:
    name, text = secrets.token_hex(4), ROW * 40
    async with AsyncExitStack() as stack:
        browser = await raw(broker, f"/ws?RegisterToken={name}", BROWSERS_OFFER)
        twin = await raw(broker, f"/ws?RegisterToken={name}", BROWSERS_OFFER)
        plain = await raw(broker, f"/ws?RegisterToken={name}")
        small = await raw(broker, f"/ws?RegisterToken={name}", "permessage-deflate; server_max_window_bits=9")
        sender = await stack.enter_async_context(connect(f"{broker.ws_url}/ws?RegisterToken=sender{name}"))
        await sender.send(f"{name}|{text}")

        found = [await first_byte_and_payload(client) for client in (browser, twin, plain, small)]
        for client in (browser, twin, plain, small):
            await client.close()
    assert [first for first, _ in found] == [0xC1, 0xC1, 0x81, 0xC1]
    assert found[0] == found[1]
    assert len(found[0][1]) * 5 < len(found[2][1])
    expected = found[2][1].decode()
    assert text in expected
    assert [inflated(found[0][1]), inflated(found[3][1])] == [expected, expected]


def _request(kind: str, **fields: Any) -> str:
    return json.dumps({"key": kind, "direction": "REQUEST", "type": kind, **fields})


PROTOCOLS: dict[str, tuple[str, list[tuple[str, str]], str]] = {
    "tokens": ("/ws?RegisterToken={name}", [], "token:{name}"),
    "rooms": (
        "/bus",
        [
            ('["JOIN", {"room": "{name}", "name": "{client}"}]', ""),
            ('["CLIENTS", {"room": "{name}"}]', "{client}"),
        ],
        "room:bus/{name}",
    ),
    "Socket.IO": (
        "/socket.io/?EIO=4&transport=websocket",
        [
            ("40/bus,", "40/bus,"),
            ("42/bus,1" + json.dumps(["JOIN", '{"room": "{name}", "name": "{client}"}']), "43/bus,1"),
        ],
        "room:bus/{name}",
    ),
    "events": ("/websocket?channel_id={name}", [("", "client_id")], "channel:{name}"),
    "requests": (
        "/connection",
        [
            (_request("authenticate", api_key="{key}"), "authenticate"),
            (_request("subscribe", addresses=["token:{name}"]), "subscribe"),
        ],
        "token:{name}",
    ),
}
"""Of each: the path, what a client says and what is in the answer, and the address that it then has."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_clients_of_every_protocol_get_the_same_compressed_bytes(broker: Server, protocol: str) -> None:
    path, steps, address = PROTOCOLS[protocol]
    name = secrets.token_hex(4)
    clients = []
    for client in ("one", "two"):
        words = {"{name}": name, "{client}": client, "{key}": broker.api_key}
        clients.append(await raw(broker, path.replace("{name}", name), BROWSERS_OFFER))
        for text, answer in steps:
            if text:
                clients[-1].writer.write(client_frame(1, filled(text, words).encode()))
            while answer and filled(answer, words) not in (await text_of(clients[-1])):
                continue
    await asyncio.to_thread(publish, broker, address.replace("{name}", name), ROW * 40)
    found = [await compressed_payload(client) for client in clients]
    for each in clients:
        await each.close()

    assert found[0] == found[1]
    assert inflated(found[0]).count("1001") == 40


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


async def text_of(client: Raw) -> str:
    return (await first_byte_and_payload(client))[1].decode()


async def compressed_payload(client: Raw) -> bytes:
    """The next one that is compressed; all else is short."""
    first, payload = 0, b""
    while first != 0xC1:
        first, payload = await first_byte_and_payload(client)
    return payload


def publish(server: Server, address: str, message: str) -> None:
    body = json.dumps({"addresses": [address], "message": message}).encode()
    headers = {"X-API-Key": server.api_key, "Content-Type": "application/json"}
    with urlopen(Request(f"{server.url}/api/publish", body, headers), timeout=60) as response:
        assert response.status == 200


async def test_a_bomb_is_closed_with_1009(broker: Server) -> None:
    client = await raw(broker, "/ws?RegisterToken=bomb", BROWSERS_OFFER)
    client.writer.write(client_frame(0x41, squeezed(b"x" * 10**7)))

    assert await client.read_close() == 1009
    await client.close()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(client_frame(0x41, b"\xff\xff\xff"), 1007, id="not DEFLATE"),
        pytest.param(client_frame(0x49, b"x"), 1002, id="compressed ping"),
        pytest.param(client_frame(0x21, b"x"), 1002, id="another reserved bit"),
    ],
)
async def test_a_broken_frame_is_closed_with_its_code(broker: Server, frame: bytes, code: int) -> None:
    client = await raw(broker, "/ws?RegisterToken=broken", BROWSERS_OFFER)
    client.writer.write(frame)

    assert await client.read_close() == code
    await client.close()


# --- other clients ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("node_modules")
@pytest.mark.parametrize("bits", [0, 10])
async def test_ws_on_node(broker: Server, bits: int) -> None:
    [told] = await node("echoes", f"{broker.ws_url}/ws?RegisterToken={secrets.token_hex(4)}", str(bits))

    assert told["same"] == [True] * 6
    assert "permessage-deflate" in told["extensions"]
    assert told["received"] < 7000  # of 71,000 bytes


SOCKET_IO = [
    *(
        Kind(f"{version}-{transport}", f"socket.io-client-{version}", {"transports": [transport]}, transport)
        for version in ("2.5", "4.8")
        for transport in ("websocket", "polling")
    ),
    Kind("4.8-default", "socket.io-client-4.8"),
]


@pytest.mark.usefixtures("node_modules")
@pytest.mark.parametrize("kind", SOCKET_IO, ids=str)
async def test_socket_io(broker: Server, kind: Kind) -> None:
    room, message = secrets.token_hex(4), {"rows": [{"id": number, "name": "anna"} for number in range(500)]}
    options = {"perMessageDeflate": {"threshold": 0}} if kind.transport == "websocket" else {}
    async with Puppet(["node", FOLDER / "puppet.mjs"]) as puppet:
        one, two = [
            await puppet.open(name, kind.library, f"{broker.url}/layout", **kind.options, **options)
            for name in ("one", "two")
        ]
        for client in (one, two):
            await client.ask("JOIN", json.dumps({"room": room, "name": client.name}))
        await one.ends_on(kind.transport)
        one.emit("NOTIFY", json.dumps({"room": room, "message": message}))

        assert await two.received("EVENT") == [{"sender": "one", "room": room, "message": message}]


async def test_a_browser(broker: Server, browser: Browser) -> None:
    page = await browser.tab()
    found = await page.run(
        """(async () => {
            const socket = new WebSocket(URL);
            await new Promise((opened, failed) => { socket.onopen = opened; socket.onerror = failed; });
            const same = [];
            for (const size of [0, 1, 1000, 60000]) {
                const text = '{"id":1001,"name":"anna"},'.repeat(3000).slice(0, size);
                const came = new Promise((resolve) => { socket.onmessage = (event) => resolve(event.data); });
                socket.send("Echo:" + text);
                same.push(await came === text);
            }
            return [socket.extensions, same];
        })()""".replace("URL", json.dumps(f"{broker.ws_url}/ws?RegisterToken={secrets.token_hex(4)}"))
    )

    assert found[0].startswith("permessage-deflate")
    assert found[1] == [True] * 4


# --- without it -------------------------------------------------------------------------------------------


async def test_without_the_setting_handshake_and_frames_are_as_they_were(plain_broker: Server) -> None:
    text = ROW * 40
    said = []
    for offer in (None, BROWSERS_OFFER, "permessage-deflate; server_max_window_bits=16", ","):
        client = await raw(plain_broker, "/ws?RegisterToken=x", offer)
        client.writer.write(client_frame(1, f"Echo:{text}".encode()))
        said.append(
            (re.sub(rb"X-Request-ID: .*\r\n", b"", client.head), await first_byte_and_payload(client))
        )
        await client.close()

    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nServer: switchboard\r\n\r\n"
    )
    assert said == [(head, (0x81, text.encode()))] * 4


async def test_without_the_setting_a_compressed_message_is_1002(plain_broker: Server) -> None:
    client = await raw(plain_broker, "/ws?RegisterToken=x", BROWSERS_OFFER)
    client.writer.write(client_frame(0x41, squeezed(b"Echo:x")))

    assert await client.read_close() == 1002
    await client.close()
