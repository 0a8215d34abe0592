"""The transport under a connection without TLS: order, bounds and ends, over a pair of sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from switchboard_server import acceptor
from switchboard_server.acceptor import Acceptor
from switchboard_server.plain_socket import HIGH_WATER, PlainSocket

pytestmark = pytest.mark.once


class Noting(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []
        self.told = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.told.set()
        if data == b"fail":
            raise ZeroDivisionError

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append(f"lost by {type(error).__name__}" if error else "lost")
        self.told.set()

    async def next(self) -> None:
        """Wait until something was read, or the connection is lost."""
        await self.told.wait()
        self.told.clear()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end, and the client's."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield near, far
    far.close()
    near.close()


@pytest.fixture
def far(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[1]


@pytest.fixture
async def noting() -> Noting:
    return Noting()


@pytest.fixture
async def plain(pair: tuple[socket.socket, socket.socket], noting: Noting) -> PlainSocket:
    return PlainSocket(asyncio.get_running_loop(), pair[0], "", noting)


async def read_all(far: socket.socket) -> bytes:
    """Everything until the end."""
    data = b""
    while part := await asyncio.get_running_loop().sock_recv(far, 65536):
        data += part
    return data


async def test_bytes_are_read_and_written(plain: PlainSocket, noting: Noting, far: socket.socket):
    far.send(b"question")
    await noting.next()
    plain.write(b"answer")
    assert (noting.data, far.recv(100)) == (b"question", b"answer")


async def test_nothing_is_read_while_reading_is_paused(
    plain: PlainSocket, noting: Noting, far: socket.socket
):
    plain.pause_reading()
    assert not plain.is_reading()
    far.send(b"later")
    for _ in range(5):
        await asyncio.sleep(0)
    assert noting.data == b""
    plain.resume_reading()
    await noting.next()
    assert noting.data == b"later"


async def test_bytes_the_kernel_does_not_take_are_held_in_order_and_a_close_waits_for_them(
    plain: PlainSocket, noting: Noting, far: socket.socket
):
    parts = [bytes([number]) * 50_000 for number in range(60)]
    for part in parts:
        plain.write(part)
    assert plain.get_write_buffer_size() > HIGH_WATER
    assert noting.events == ["pause"], "told once"
    plain.close()
    plain.write(b"too late")
    assert await read_all(far) == b"".join(parts)
    await noting.next()
    assert noting.events[-1] == "lost"


async def test_the_protocol_is_told_when_there_is_room_again(
    plain: PlainSocket, noting: Noting, far: socket.socket
):
    plain.write(bytes(3_000_000))
    plain.write_eof()
    assert len(await read_all(far)) == 3_000_000, "its end comes behind what was held"
    assert noting.events == ["pause", "resume"]
    far.send(b"read on")
    await noting.next()
    assert noting.data == b"read on"


async def test_the_end_of_a_client_ends_the_connection(
    plain: PlainSocket, noting: Noting, far: socket.socket
):
    far.close()
    await noting.next()
    assert (noting.events, plain.is_closing()) == (["lost"], True)
    assert plain.get_extra_info("socket").fileno() == -1


async def test_an_abort_throws_away_what_is_held(plain: PlainSocket, noting: Noting, far: socket.socket):
    plain.write(bytes(3_000_000))
    plain.abort()
    plain.abort()
    await noting.next()
    assert noting.events == ["pause", "lost"]
    assert len(await read_all(far)) < 3_000_000


async def test_a_client_that_has_gone_is_noticed_by_a_write(
    plain: PlainSocket, noting: Noting, far: socket.socket
):
    plain.pause_reading()
    far.close()
    plain.write(b"answer")
    plain.write(b"more")
    await noting.next()
    assert noting.events == ["lost by BrokenPipeError"]


async def test_a_protocol_that_fails_loses_its_connection_alone(
    plain: PlainSocket, noting: Noting, far: socket.socket
):
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    far.send(b"fail")
    while not noting.events:
        await noting.next()
    assert noting.events == ["lost by ZeroDivisionError"]
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


class Exhausted:
    """A socket that listens, and whose `accept` raises these errors first."""

    def __init__(self, listening: socket.socket, *errors: OSError) -> None:
        self._listening = listening
        self.errors = list(errors)

    def accept(self) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return self._listening.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.mark.parametrize(
    "error",
    [ConnectionAbortedError(), OSError(errno.EMFILE, os.strerror(errno.EMFILE))],
    ids=["a client that has gone", "no descriptor left"],
)
async def test_connections_are_accepted_after_an_error(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket, error: OSError
):
    monkeypatch.setattr(acceptor, "RETRY_SECONDS", 0)
    made: list[Noting] = []

    def make() -> Noting:
        made.append(Noting())
        return made[-1]

    exhausted: Any = Exhausted(listening, error)
    accepting = Acceptor(asyncio.get_running_loop(), exhausted, make)
    with socket.create_connection(listening.getsockname()) as client:
        client.send(b"hello")
        while not made:
            await asyncio.sleep(0)
        await made[0].next()
        assert (made[0].data, exhausted.errors) == (b"hello", [])
        accepting.close()
        client.close()
        while not made[0].events:
            await made[0].next()
    assert listening.fileno() == -1
