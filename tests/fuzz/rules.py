"""Connections that each break one rule, as bytes, and how each of them ends.

A rule is a handshake (or whatever comes in its place) and the bytes behind it. Its outcome is the HTTP status
that refuses it, the code of the close frame, or OPEN: the server has read it, since it answers a ping behind
it, and goes on. ENDED is an end without a word; HELD is a client that is not answered yet, and leaves.
"""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.server.plain import client_frame, handshake, hang_up
from tests.services.ports import LOOPBACK

OPEN: Final = "open"
ENDED: Final = "ended"
HELD: Final = "held"
Outcome = int | str
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PING_DATA: Final = b"after it all"
PING_FRAME: Final = client_frame(PING, PING_DATA)
TOKENS, LAYOUT, EVENTS, REQUESTS = "/ws", "/layout", "/websocket", "/connection"
SOCKETIO: Final = "/socket.io/?EIO=4&transport=websocket"
OLD_SOCKETIO: Final = "/socket.io/?EIO=3&transport=websocket"
POLL: Final = "/socket.io/?EIO=4&transport=polling"
SECONDS: Final = 60


@dataclass(frozen=True)
class Rule:
    """One broken rule."""

    opening: bytes
    behind: bytes = b""
    outcome: Outcome = 1002
    polls: bool = False
    """Opens a session by polling first; `SID` in `behind` is its id."""


def socket(path: str, behind: bytes, outcome: Outcome, **headers: str | None) -> Rule:
    """A rule that is broken after a good handshake."""
    return Rule(handshake(path, **headers), behind, outcome)


def text(path: str, payload: str | bytes, outcome: Outcome) -> Rule:
    """A rule that is broken by the payload of a good frame."""
    return socket(
        path, client_frame(TEXT, payload if isinstance(payload, bytes) else payload.encode()), outcome
    )


def posted(body: bytes, outcome: Outcome) -> Rule:
    """A rule that is broken by the body of a poll."""
    opening = f"GET {POLL} HTTP/1.1\r\nHost: test\r\n\r\n"
    head = f"POST {POLL}&sid=SID HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    return Rule(opening.encode(), head.encode() + body, outcome, polls=True)


def request(lines: bytes, outcome: Outcome, behind: bytes = b"") -> Rule:
    """A request that is not even a handshake."""
    return Rule(lines, behind, outcome)


def deflated(data: bytes) -> bytes:
    """A message as permessage-deflate has it, in one frame."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    frame = client_frame(TEXT, packed)
    return bytes([frame[0] | 0x40]) + frame[1:]


DEFLATE: Final = "permessage-deflate"
DEEP: Final = "[" * 30_000
HEAD: Final = b"GET /ws HTTP/1.1\r\nHost: test\r\n"

HTTP_RULES: Final = {
    "not HTTP": request(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "no such version": request(b"GET /ws HTTP/3.7\r\nHost: test\r\n\r\n", 400),
    "a header without a name": request(HEAD + b": x\r\n\r\n", 400),
    "a head without end": request(HEAD + b"X: " + b"x" * 70_000, 431),
    "endless headers": request(HEAD + b"X: y\r\n" * 12_000, 431),
    "two ways to a length": request(HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a chunk without a size": request(
        b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400
    ),
    "a slow head": request(HEAD + b"X: ", HELD),
    "nothing at all": request(b"", HELD),
    "a body that does not come": request(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n", HELD),
    "no version of WebSocket": Rule(handshake(TOKENS, sec_websocket_version=None), outcome=426),
    "a version that is none": Rule(handshake(TOKENS, sec_websocket_version="7"), outcome=426),
    "no key": Rule(handshake(TOKENS, sec_websocket_key=None), outcome=400),
    "a key of 3 bytes": Rule(handshake(TOKENS, sec_websocket_key="AAAA"), outcome=400),
    "no host": Rule(handshake(TOKENS, host=None), outcome=400),
    "another origin": Rule(handshake(EVENTS, origin="https://evil.example"), outcome=403),
    "an extension that cannot be read": Rule(handshake(TOKENS, sec_websocket_extensions="a;;b"), outcome=400),
    "a path without a socket": Rule(handshake("/nowhere"), outcome=403),
    "a session without a token": Rule(handshake("/?token=none"), outcome=403),
}
FRAME_RULES: Final = {
    "a reserved bit": socket(TOKENS, b"\xa1\x80" + bytes(4), 1002),
    "compressed without agreement": socket(TOKENS, b"\xc1\x80" + bytes(4), 1002),
    "an unknown opcode": socket(TOKENS, client_frame(3), 1002),
    "an unknown control opcode": socket(TOKENS, client_frame(11), 1002),
    "not masked": socket(TOKENS, b"\x81\x01a", 1002),
    "a length that is too long": socket(TOKENS, b"\x82\xff" + struct.pack("!Q", 2**40) + bytes(4), 1009),
    "a length of 64 bits": socket(TOKENS, b"\x82\xff" + b"\xff" * 8 + bytes(4), 1009),
    "a length not in its shortest form": socket(TOKENS, b"\x82\xfe\x00\x01" + bytes(5), 1002),
    "bad UTF-8": text(TOKENS, b"\xff\xfe", 1007),
    "half a character": text(TOKENS, b"\xe2\x82", 1007),
    "a surrogate in UTF-8": text(TOKENS, b"\xed\xa0\x80", 1007),
    "a continuation of nothing": socket(TOKENS, client_frame(0, b"x"), 1002),
    "a message within a message": socket(TOKENS, client_frame(TEXT, b"x", False) + client_frame(TEXT), 1002),
    "fragments without end": socket(
        TOKENS, client_frame(TEXT, b"x", False) + client_frame(0, b"", False) * 500, OPEN
    ),
    "fragments that are too much": socket(
        TOKENS, client_frame(TEXT, b"", False) + client_frame(0, b"x" * 30_000, False) * 4, 1009
    ),
    "a ping that is too long": socket(TOKENS, client_frame(PING, b"x" * 126), 1002),
    "a ping in parts": socket(TOKENS, client_frame(PING, b"x", False), 1002),
    "a pong nobody asked for": socket(TOKENS, client_frame(PONG, b"x"), OPEN),
    "a close of one byte": socket(TOKENS, client_frame(CLOSE, b"x"), 1002),
    "a close with 1005": socket(TOKENS, client_frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "a close with 999": socket(TOKENS, client_frame(CLOSE, struct.pack("!H", 999)), 1002),
    "a close with 65535": socket(TOKENS, client_frame(CLOSE, b"\xff\xff"), 1002),
    "a close with a bad reason": socket(TOKENS, client_frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "half a frame": socket(TOKENS, b"\x81\xfe\xff", HELD),
    "a deflate bomb": socket(TOKENS, deflated(bytes(8_000_000)), 1009, sec_websocket_extensions=DEFLATE),
    "deflate that is none": socket(
        TOKENS, b"\xc1\x85" + bytes(4) + b"\xff" * 5, 1007, sec_websocket_extensions=DEFLATE
    ),
    "deflate of bad UTF-8": socket(TOKENS, deflated(b"\xff" * 300), 1007, sec_websocket_extensions=DEFLATE),
    "a compressed ping": socket(TOKENS, b"\xc9\x80" + bytes(4), 1002, sec_websocket_extensions=DEFLATE),
}
PROTOCOL_RULES: Final = {
    "tokens: binary that is not text": socket(TOKENS, client_frame(BINARY, b"\xff"), 1003),
    "tokens: nothing": text(TOKENS, "", OPEN),
    "tokens: a bad token": text(TOKENS, "RegisterToken:a|b", OPEN),
    "tokens: a token that is too long": text(TOKENS, "RegisterToken:" + "a" * 256, 1009),
    "tokens: too many receivers": text(TOKENS, ",".join(map(str, range(5000))) + "|x", 1009),
    "rooms: not JSON": text(LAYOUT, "{", OPEN),
    "rooms: a JSON bomb": text(LAYOUT, DEEP, OPEN),
    "rooms: no room": text(LAYOUT, '["JOIN",{"room":[]}]', OPEN),
    "events: not JSON": text(EVENTS, "{", OPEN),
    "events: a JSON bomb": text(EVENTS, DEEP, OPEN),
    "events: an object that is too deep": text(EVENTS, '{"a":' * 400 + "1" + "}" * 400, OPEN),
    "events: no such type": text(EVENTS, '{"type":"nothing"}', OPEN),
    "events: huge numbers": text(EVENTS, '{"type":"walker","walker":"w","id":' + "9" * 300 + "}", OPEN),
    "requests: not JSON": text(REQUESTS, "{", OPEN),
    "requests: a JSON bomb": text(REQUESTS, DEEP, OPEN),
    "requests: no such direction": text(REQUESTS, '{"direction":"SIDEWAYS"}', OPEN),
    "requests: a hundred malformed frames": socket(REQUESTS, client_frame(TEXT, b"[") * 101, 1008),
    "requests: a reply to nothing": text(REQUESTS, '{"direction":"REPLY","key":7}', OPEN),
    "engine.io: no such packet": text(SOCKETIO, "9", 4009),
    "engine.io: bad base64": text(SOCKETIO, "b!!!", 4009),
    "engine.io: a binary ping": socket(OLD_SOCKETIO, client_frame(BINARY, b"\x02x"), 4009),
    "socket.io: no such packet": text(SOCKETIO, "49", 4009),
    "socket.io: a JSON bomb": text(SOCKETIO, "42" + DEEP, 4009),
    "socket.io: too many attachments": text(SOCKETIO, '4599-["a"]', 4009),
    "socket.io: no namespace": text(SOCKETIO, "40/nowhere,", OPEN),
    "poll: empty": posted(b"", 400),
    "poll: no such packet": posted(b"9x", 400),
    "poll: not UTF-8": posted(b"4\xff", 400),
    "poll: too many packets": posted(b"\x1e".join([b"4"] * 6000), 400),
    "poll: bad base64": posted(b"b!", 400),
    "poll: a JSON bomb": posted(b"42" + DEEP.encode(), 400),
    "poll: no such session": request(f"GET {POLL}&sid=none HTTP/1.1\r\nHost: test\r\n\r\n".encode(), 400),
    "poll: no such transport": request(
        b"GET /socket.io/?EIO=4&transport=fax HTTP/1.1\r\nHost: test\r\n\r\n", 400
    ),
    "a takeover without a token": request(
        b"POST /takeover HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n{", 401
    ),
}
RULES: Final[dict[str, Rule]] = HTTP_RULES | FRAME_RULES | PROTOCOL_RULES


async def break_rule(port: int, rule: Rule) -> Outcome:
    """Connect, break the rule, and tell how it ends."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        async with asyncio.timeout(SECONDS):
            return await _broken(rule, reader, writer)
    except ConnectionError:
        return ENDED
    finally:
        await hang_up(writer)


async def _broken(rule: Rule, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Outcome:
    writer.write(rule.opening)
    if rule.outcome == HELD and not rule.behind:
        return HELD
    status = await _status(reader)
    if status not in (101, 200):
        return status
    behind = rule.behind
    if rule.polls:
        opened = json.loads((await reader.readuntil(b"}"))[1:])
        behind = behind.replace(b"SID", opened["sid"].encode())
    writer.write(behind)
    if rule.polls:
        return await _status(reader)
    if rule.outcome == HELD:
        return HELD
    writer.write(PING_FRAME)
    return await _end_of_socket(reader)


async def _status(reader: asyncio.StreamReader) -> int:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise ConnectionResetError from None
    return int(head.split()[1])


async def _end_of_socket(reader: asyncio.StreamReader) -> Outcome:
    """The code of the close frame; OPEN with the pong to our ping."""
    with suppress(asyncio.IncompleteReadError):
        while True:
            first, size = await reader.readexactly(2)
            if size > 125:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            payload = await reader.readexactly(size)
            if first & 15 == CLOSE:
                return int(struct.unpack("!H", payload[:2])[0]) if payload else ENDED
            if first & 15 == PONG and payload == PING_DATA:
                return OPEN
    return ENDED


def clients_held(pid: int, port: int) -> int:
    """Descriptors of a process that are sockets of this local port, the one that listens among them.

    Not all descriptors: threads of the database open files and connections of their own when they please.
    """
    inodes = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    held = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            held += str(link.readlink()) in inodes
    return held
