"""The proxy of these tests fails in the ways it promises, and in no other."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import Proxy, Way
from tests.services.ports import LOOPBACK
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once

Open = Callable[[], socket.socket]


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets, and keeps it."""

    def handle(self) -> None:
        with suppress(ConnectionError):
            while data := self.request.recv(65536):
                self.server.got.append(data)  # type: ignore[attr-defined]
                self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), Echo)
        self.got: list[bytes] = []


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[Proxy]:
    with Proxy(echo.server_address[1]) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Open]:
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection((LOOPBACK, proxy.port), timeout=60))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def says(client: socket.socket, data: bytes) -> bytes:
    """The bytes that come back for `data`, as many as it has."""
    client.sendall(data)
    return received(client, len(data))


def in_use(connect: Open, count: int) -> list[socket.socket]:
    """Clients that have been answered."""
    clients = [connect() for _ in range(count)]
    for client in clients:
        says(client, b"here")
    return clients


def check_reset(clients: list[socket.socket]) -> None:
    """Each has been reset."""
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def received(client: socket.socket, size: int) -> bytes:
    """At least so many bytes, or an AssertionError when the connection ends before."""
    back = b""
    while len(back) < size:
        part = client.recv(65536)
        assert part, f"the end after {len(back)} of {size} bytes"
        back += part
    return back


def is_deaf(client: socket.socket) -> bool:
    client.sendall(b"lost")
    client.settimeout(0.2)
    try:
        return client.recv(10) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(60)


def test_normally_everything_comes_through_and_so_does_the_end(proxy: Proxy, connect: Open) -> None:
    client, data = connect(), bytes(range(256)) * 4096
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    back = received(client, len(data))
    sender.join()
    client.shutdown(socket.SHUT_WR)
    assert back == data
    assert client.recv(1) == b""


def test_latency_delays_each_way_and_keeps_the_order(proxy: Proxy, connect: Open) -> None:
    client = connect()
    proxy.slow(latency=0.1)
    began = time.monotonic()
    for number in range(10):
        client.sendall(bytes([number]))
        time.sleep(0.005)
    assert received(client, 10) == bytes(range(10))
    assert time.monotonic() - began >= 0.2


def test_a_trickle_lets_so_many_bytes_through(proxy: Proxy, connect: Open) -> None:
    client = connect()
    proxy.slow(bytes_per_second=10_000)
    began = time.monotonic()
    assert says(client, b"x" * 5000) == b"x" * 5000
    assert time.monotonic() - began >= 0.4


def test_cut_resets_every_connection_and_takes_new_ones(proxy: Proxy, connect: Open) -> None:
    clients = in_use(connect, 3)
    assert proxy.cut() == 3
    check_reset(clients)
    assert says(connect(), b"again") == b"again"


def test_down_resets_every_connection_and_takes_none(proxy: Proxy, connect: Open) -> None:
    clients = in_use(connect, 3)
    assert proxy.down() == 3
    check_reset(clients)
    with pytest.raises(ConnectionRefusedError):
        connect()
    proxy.heal()
    assert says(connect(), b"again") == b"again"


def test_half_open_swallows_and_a_connection_that_lost_bytes_is_lost(
    proxy: Proxy, connect: Open, echo: EchoServer
) -> None:
    old = connect()
    says(old, b"before")
    proxy.swallow()
    new = connect()
    assert is_deaf(old)
    assert is_deaf(new)
    assert echo.got == [b"before"]
    proxy.heal()
    assert is_deaf(old)
    assert says(connect(), b"again") == b"again"


@pytest.mark.parametrize(("way", "arrives"), [(Way.UP, []), (Way.DOWN, [b"lost"])])
def test_half_open_in_one_direction(
    way: Way, arrives: list[bytes], proxy: Proxy, connect: Open, echo: EchoServer
) -> None:
    client = connect()
    proxy.swallow(frozenset({way}))
    assert is_deaf(client)
    wait_until(lambda: echo.got == arrives)


@pytest.mark.parametrize(("way", "arrives"), [(Way.UP, []), (Way.DOWN, [b"lost"])])
def test_what_is_held_comes_when_the_link_is_whole_again(
    way: Way, arrives: list[bytes], proxy: Proxy, connect: Open, echo: EchoServer
) -> None:
    old = connect()
    says(old, b"before")
    proxy.hold(frozenset({way}))
    new = connect()
    assert is_deaf(old)
    assert is_deaf(new)
    wait_until(lambda: echo.got == [b"before", *arrives, *arrives])
    proxy.heal()
    assert [one.recv(10) for one in (old, new)] == [b"lost", b"lost"]
    assert says(old, b"again") == b"again"


def test_a_client_that_leaves_while_its_bytes_are_held_has_sent_them(
    proxy: Proxy, connect: Open, echo: EchoServer
) -> None:
    client = connect()
    proxy.hold(frozenset({Way.UP}))
    assert is_deaf(client)
    client.shutdown(socket.SHUT_WR)
    assert echo.got == []
    proxy.heal()
    assert client.recv(10) == b"lost"
    assert client.recv(10) == b""


def test_a_server_that_is_not_there_is_a_reset(proxy: Proxy, connect: Open, echo: EchoServer) -> None:
    echo.server_close()
    with pytest.raises(ConnectionResetError):
        connect().recv(1)
