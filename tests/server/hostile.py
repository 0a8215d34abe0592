"""Requests that two servers could read differently, and requests that never end, as bytes.

The yardstick stands beside each row: the answers of uvicorn 0.54 with httptools, and of nginx 1.22 in front
of it, to the same bytes.
"""

from __future__ import annotations

import asyncio

from switchboard_server.chunks import MAX_LINE
from switchboard_server.request_head import MAX_FIELDS, MAX_HEAD_BYTES
from tests.server.plain import hang_up
from tests.services.ports import LOOPBACK

NEXT = b"GET /stats HTTP/1.1\r\nHost: next\r\n\r\n"
"""Behind every hostile request: it is answered only where the first one ended in order."""
LAST = b"GET /stats HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"


def request(*lines: bytes, line: bytes = b"POST /stats HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: test", *lines, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"

REFUSED: dict[str, tuple[bytes, int, str]] = {
    # --- two ways to find the end of the body ---
    "length and chunks": (
        request(b"Content-Length: 4", CHUNKED, body=b"0\r\n\r\n"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "chunks and length": (
        request(CHUNKED, b"Content-Length: 4", body=b"0\r\n\r\n"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "two lengths": (
        request(b"Content-Length: 4", b"Content-Length: 5", body=b"abcde"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "the same length twice": (
        request(b"Content-Length: 4", b"Content-Length: 4", body=b"abcd"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "a list of lengths": (request(b"Content-Length: 4, 4", body=b"abcd"), 400, "uvicorn 400, nginx 400"),
    "a length with a sign": (request(b"Content-Length: +4", body=b"abcd"), 400, "uvicorn 400, nginx 400"),
    "a negative length": (request(b"Content-Length: -1"), 400, "uvicorn 400, nginx 400"),
    "a hexadecimal length": (request(b"Content-Length: 0x4", body=b"abcd"), 400, "uvicorn 400, nginx 400"),
    "an empty length": (request(b"Content-Length:"), 400, "uvicorn 400, nginx 400"),
    "a length beyond 64 bits": (
        request(b"Content-Length: 99999999999999999999"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "a coding that is not chunked": (
        request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        400,
        "uvicorn 400, nginx 501",
    ),
    "chunked behind another coding": (
        request(b"Transfer-Encoding: gzip, chunked"),
        501,
        "uvicorn 400, nginx 501",
    ),
    "chunked before another coding": (
        request(b"Transfer-Encoding: chunked, gzip"),
        400,
        "uvicorn 400, nginx 501",
    ),
    "chunked twice": (request(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400, "uvicorn 400, nginx 400"),
    "chunked and identity": (
        request(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "chunked in quotes": (request(b'Transfer-Encoding: "chunked"'), 400, "uvicorn 400, nginx 501"),
    "chunked behind a vertical tab": (
        request(b"Transfer-Encoding: \x0bchunked"),
        400,
        "uvicorn 400, nginx 501",
    ),
    "chunked in HTTP/1.0": (
        request(CHUNKED, line=b"POST / HTTP/1.0", body=b"0\r\n\r\n"),
        400,
        "uvicorn 200, nginx 400",
    ),
    # --- chunks ---
    "a size with a sign": (request(CHUNKED, body=b"+1\r\na\r\n0\r\n\r\n"), 400, "uvicorn 400, nginx 400"),
    "a size with 0x": (request(CHUNKED, body=b"0x1\r\na\r\n0\r\n\r\n"), 400, "uvicorn 400, nginx 400"),
    "no size": (request(CHUNKED, body=b"\r\na\r\n0\r\n\r\n"), 400, "uvicorn 400, nginx 400"),
    "a size beyond 64 bits": (
        request(CHUNKED, body=b"fffffffffffffffff\r\na"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "a chunk longer than its size": (
        request(CHUNKED, body=b"1\r\nab\r\n0\r\n\r\n"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "a size that ends with LF": (request(CHUNKED, body=b"1\na\r\n0\r\n\r\n"), 400, "uvicorn 400, nginx 200"),
    "a chunk that ends with LF": (request(CHUNKED, body=b"1\r\na\n0\r\n\r\n"), 400, "uvicorn 400, nginx 200"),
    "an extension with a CR in it": (
        request(CHUNKED, body=b"1;a\rb\r\na\r\n0\r\n\r\n"),
        400,
        "uvicorn 400, nginx 400",
    ),
    "an extension without an end": (
        request(CHUNKED, body=b"1;" + b"a" * (MAX_LINE + 1)),
        400,
        "uvicorn 400, nginx 400",
    ),
    "a trailer that is not a header": (
        request(CHUNKED, body=b"0\r\nno colon\r\n\r\n"),
        400,
        "uvicorn 400, nginx 200",
    ),
    "a trailer that ends with LF": (request(CHUNKED, body=b"0\r\na: b\n\r\n"), 400, "uvicorn 400, nginx 200"),
    "trailers without an end": (
        request(CHUNKED, body=b"0\r\n" + b"a: b\r\n" * 9000),
        400,
        "uvicorn 400, nginx 200",
    ),
    # --- lines of the head ---
    "LF alone": (b"GET /stats HTTP/1.1\nHost: test\n\n", 400, "uvicorn 400, nginx 200"),
    "LF alone behind a header": (
        b"GET /stats HTTP/1.1\r\nHost: test\nX: y\r\n\r\n",
        400,
        "uvicorn 400, nginx 200",
    ),
    "CR alone in a value": (request(b"X: y\rContent-Length: 5"), 400, "uvicorn 400, nginx 400"),
    "a folded header": (request(b"X: y", b" z"), 400, "uvicorn 400, nginx 400"),
    "a folded header with a tab": (request(b"X: y", b"\tz"), 400, "uvicorn 400, nginx 400"),
    "a space before the first header": (
        b"GET /stats HTTP/1.1\r\n Host: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "a space before the colon": (request(b"Content-Length : 4", body=b"abcd"), 400, "uvicorn 400, nginx 400"),
    "a tab before the colon": (request(b"Content-Length\t: 4", body=b"abcd"), 400, "uvicorn 400, nginx 400"),
    "a line without a colon": (request(b"nonsense"), 400, "uvicorn 400, nginx 200"),
    "a header without a name": (request(b": y"), 400, "uvicorn 400, nginx 400"),
    "a parenthesis in a name": (request(b"X(y): z"), 400, "uvicorn 400, nginx 200"),
    "a byte beyond ASCII in a name": (request("Xé: z".encode()), 400, "uvicorn 400, nginx 200"),
    "NUL in a value": (request(b"X: y\0z"), 400, "uvicorn 400, nginx 400"),
    "a control character in a value": (request(b"X: y\x01z"), 400, "uvicorn 400, nginx 400"),
    "two hosts": (request(b"Host: other", line=b"GET /stats HTTP/1.1"), 400, "uvicorn 200, nginx 400"),
    "a head that is too large": (request(b"X: " + b"y" * MAX_HEAD_BYTES), 431, "uvicorn 200, nginx 400"),
    "too many headers": (request(*[b"X: y"] * MAX_FIELDS), 431, "uvicorn 200, nginx 200"),
    "a head without an end": (
        b"GET /stats HTTP/1.1\r\n" + b"X: y\r\n" * 12_000,
        431,
        "uvicorn 400, nginx 400",
    ),
    # --- the request line ---
    "a target that is too long": (
        b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        431,
        "uvicorn 400, nginx 414",
    ),
    "a target without a slash": (b"GET stats HTTP/1.1\r\nHost: test\r\n\r\n", 400, "uvicorn 400, nginx 400"),
    "a target of another scheme": (
        b"GET ftp://test/ HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 200, nginx 200",
    ),
    "a target without a host": (
        b"GET http:///stats HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "an asterisk for another method": (
        b"GET * HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 200, nginx 400",
    ),
    "a control character in the target": (
        b"GET /\x01 HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "a byte beyond ASCII in the target": (
        b"GET /\xe9 HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "a tunnel": (b"CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n", 405, "uvicorn 400, nginx 400"),
    "an unknown method": (b"FOO /stats HTTP/1.1\r\nHost: test\r\n\r\n", 400, "uvicorn 400, nginx 400"),
    "a method in small letters": (
        b"get /stats HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "a space before the method": (
        b" GET /stats HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "a tab in the request line": (
        b"GET\t/stats HTTP/1.1\r\nHost: test\r\n\r\n",
        400,
        "uvicorn 400, nginx 400",
    ),
    "HTTP/0.9": (b"GET /stats\r\n\r\n", 505, "uvicorn 200, nginx 0.9"),
    "HTTP/1.2": (b"GET /stats HTTP/1.2\r\nHost: test\r\n\r\n", 400, "uvicorn 400, nginx 200"),
    "HTTP/2.0": (b"GET /stats HTTP/2.0\r\nHost: test\r\n\r\n", 505, "uvicorn 200, nginx 505"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "uvicorn 400, nginx 400"),
    "no version": (b"GET /stats HTTP/\r\nHost: test\r\n\r\n", 400, "uvicorn 400, nginx 400"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "uvicorn 400, nginx 400"),
    # --- handshakes ---
    "a handshake with a body": (
        request(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Content-Length: 4",
            line=b"GET /echo HTTP/1.1",
            body=b"abcd",
        ),
        400,
        "uvicorn no answer, nginx 200",
    ),
}


SERVED: dict[str, bytes] = {
    "no host": b"GET /stats HTTP/1.1\r\n\r\n",
    "line ends before the request": b"\r\n\r\n" + request(line=b"GET /stats HTTP/1.1"),
    "a whole URL": request(line=b"GET http://test/stats HTTP/1.1"),
    "a fragment": request(line=b"GET /stats#fragment HTTP/1.1"),
    "an asterisk for OPTIONS": request(line=b"OPTIONS * HTTP/1.1"),
    "spaces around a length": request(b"Content-Length: \t 4 \t", body=b"abcd"),
    "chunked in capitals": request(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n"),
    "leading zeros of a size": request(CHUNKED, body=b"0001\r\na\r\n0\r\n\r\n"),
    "an extension and a trailer": request(CHUNKED, body=b"1;a=b\r\na\r\n0\r\nX: y\r\n\r\n"),
    "an upgrade to something else": request(b"Connection: Upgrade", b"Upgrade: h2c", line=b"GET / HTTP/1.1"),
    "another expectation": request(b"Expect: everything", b"Content-Length: 1", body=b"a"),
}


async def exchange(port: int, sent: bytes) -> bytes:
    """All that a server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(sent)
    answers = await asyncio.wait_for(reader.read(), 60)
    await hang_up(writer)
    return answers
