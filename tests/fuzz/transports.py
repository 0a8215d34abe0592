"""Targets: Engine.IO and Socket.IO, WebSocket frames and HTTP heads."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from routing_app.engineio import jsonp
from routing_app.engineio import wire as engine
from routing_app.engineio.socketio import wire as socket
from switchboard_server import deflate, frames, handshake
from switchboard_server.chunks import ChunkReader
from switchboard_server.proxy import Proxies
from switchboard_server.request_head import RequestHead, RequestRefused

PACKETS = 50
"""Packets in a payload, at most."""
BOUND = 1000
"""Bytes of a frame, and twice as many of a message, at most."""
PROXIES = Proxies(["10.0.0.0/8", "unix", "::1"])


def fuzz_engineio(data: bytes) -> None:
    """Payloads and frames of both versions, and JSONP; the first byte chooses."""
    choice, body = (data[0] if data else 0), data[1:]
    version = 3 if choice & 1 else 4
    content_type = engine.BINARY_TYPE if choice & 2 else engine.TEXT_TYPE
    if choice & 4:
        try:
            body = jsonp.payload_of(body)
        except engine.EngineWireError:
            return
    check_payload(version, body, content_type)
    for frame in (body, body.decode("utf-8", "replace")):
        with suppress(engine.EngineWireError):
            packet = engine.decode_frame(version, frame, bool(choice & 8))
            text_only = isinstance(frame, str)
            assert engine.decode_frame(version, engine.encode_frame(version, packet, text_only)) == packet
    assert jsonp.callback_of(body.decode("latin-1")).isascii()


def check_payload(version: int, body: bytes, content_type: bytes) -> None:
    """Packets are bounded and known, and written they are read as the same."""
    with suppress(engine.EngineWireError):
        packets = engine.decode_payload(version, body, content_type, PACKETS)
        assert 0 < len(packets) <= PACKETS
        assert all(isinstance(packet, bytes) or packet[0] in engine.TYPES for packet in packets)
        # The text form of version 3 is ambiguous (`_encoded_once`), its binary form is not.
        written = engine.encode_payload(version, packets, binary=True)
        assert engine.decode_payload(version, written.body, written.content_type, PACKETS) == packets
        texts = [packet for packet in packets if isinstance(packet, str)]
        script = jsonp.as_script("0", engine.encode_payload(version, texts)).body
        assert (
            json.loads(script[len("___eio[0](") : -2]).encode() == engine.encode_payload(version, texts).body
        )


def fuzz_socketio(data: bytes) -> None:
    """Packets, with the attachments that they ask for; an event or ack that was read is written again."""
    text = data.decode("utf-8", "replace")
    try:
        packet = socket.decode(text)
    except socket.SocketWireError:
        return
    assert packet.namespace == socket.namespace_of(text)
    assert packet.attachments <= socket.MAX_ATTACHMENTS
    attachments = [bytes([number]) for number in range(packet.attachments)]
    if attachments and packet.data is not None:
        try:
            socket.attach(packet.data, attachments)
        except socket.SocketWireError:
            return
    if packet.type == socket.EVENT:
        again = read(socket.event(packet.namespace, *packet.data, id=packet.id or ""))
    elif packet.type == socket.ACK:
        again = read(socket.ack(packet.namespace, packet.id or "", *packet.data))
    else:
        return
    assert again is None or again == (packet.type, packet.namespace, packet.id, packet.data)


def read(written: socket.Written) -> tuple[int, str, str | None, Any] | None:
    """What was written, read; None for binary data that had to go as base64."""
    if isinstance(written, str):
        packet = socket.decode(written)
        return None if socket.BASE64 in written else parts(packet, packet.data)
    packet = socket.decode(written.text)
    data = copy.deepcopy(packet.data)
    socket.attach(data, written.attachments)
    return parts(packet, data)


def parts(packet: socket.Packet, data: Any) -> tuple[int, str, str | None, Any]:
    """What has to be the same."""
    return packet.type, packet.namespace, packet.id, data


def fuzz_frames(data: bytes) -> None:
    """A client's stream of frames is the same wherever it is cut, and no message is longer than allowed.

    The first byte says where the stream is cut.
    """
    step, stream = (data[0] % 16 + 1 if data else 1), data[1:]
    for reader in (frames.FrameReader, deflate.InflatingReader):
        whole = outcome_of_frames(reader(BOUND, 2 * BOUND), [stream])
        cut = outcome_of_frames(reader(BOUND, 2 * BOUND), pieces(stream, step))
        assert whole == cut
    for limit in (0, BOUND):
        with suppress(frames.FrameError):
            assert len(deflate.inflate(stream, limit)) <= limit


def outcome_of_frames(reader: frames.FrameReader, fed: Iterable[bytes]) -> list[Any]:
    """The messages of a stream; last of all the code of its end, where the reader gave one."""
    found: list[Any] = []
    try:
        for piece in fed:
            reader.feed(piece)
            while (message := reader.next()) is not None:
                assert len(message[1]) <= 2 * BOUND
                found.append(message)
    except frames.FrameError as error:
        frames.build_close(error.code, error.reason)
        found.append(error.code)
    return found


def pieces(data: bytes, step: int) -> list[bytes]:
    """The data in pieces of so many bytes."""
    return [data[at : at + step] for at in range(0, len(data), step)]


def fuzz_http(data: bytes) -> None:
    """A head and the chunks behind it, the same wherever they are cut; a handshake, and proxies' headers.

    The first byte says where the head is cut.
    """
    step, stream = (data[0] % 16 + 1 if data else 1), data[1:]
    end = stream.find(b"\r\n\r\n") + 4
    sent, body = (stream[:end], stream[end:]) if end > 3 else (stream, b"")
    head = outcome_of_head([sent])
    cut = outcome_of_head(pieces(sent, step))
    if not isinstance(head, RequestHead) or not isinstance(cut, RequestHead):
        # Where two things are wrong (HTTP/0.9 with bytes behind its line), the first one that is seen counts.
        assert isinstance(head, int) == isinstance(cut, int)
        return
    assert (head.complete, head.target, head.headers) == (cut.complete, cut.target, cut.headers)
    if head.complete:
        check_head(head)
    assert outcome_of_chunks([body]) == outcome_of_chunks(pieces(body, step))


def outcome_of_head(fed: Iterable[bytes]) -> RequestHead | int:
    """The head, or the status that refuses it."""
    head = RequestHead()
    try:
        for piece in fed:
            if not head.complete:
                head.feed(piece)
    except RequestRefused as refused:
        return refused.status
    return head


def check_head(head: RequestHead) -> None:
    """The parts of a whole head, as the connection reads them."""
    assert head.method
    assert head.content_length >= 0
    assert not (head.chunked and head.content_length)
    assert all(name == name.lower() and b"\n" not in name + value for name, value in head.headers)
    with suppress(handshake.HandshakeError):
        key = handshake.check(head.method.encode(), f"HTTP/{head.version}".encode(), head.headers)
        agreed = deflate.negotiate(head.headers)
        assert agreed is None or 8 <= agreed.window_bits <= 15
        handshake.subprotocols(head.headers)
        assert handshake.answer(key, [(b"x", agreed.answer)] if agreed else []).count(b"\r\n\r\n") == 1
    values = [value for _, value in head.headers]
    assert PROXIES.client("10.0.0.1", values)
    assert 0 <= PROXIES.port(values) <= 99_999
    PROXIES.scheme(values)


def outcome_of_chunks(fed: Iterable[bytes]) -> tuple[int, bytes, bytes]:
    """The status that refuses a chunked body, 0 for none; the body, and what is behind it."""
    reader, body, rest = ChunkReader(), b"", b""
    try:
        for piece in fed:
            if reader.whole:
                rest += piece
            else:
                body += reader.feed(piece)
                rest += reader.rest
    except RequestRefused as refused:
        return refused.status, b"", b""
    return 0, body, rest
