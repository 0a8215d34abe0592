"""Places to listen at, as Daphne's `--endpoint` describes them."""

from __future__ import annotations

import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from switchboard_server.endpoints import descriptions, listen
from switchboard_server.server import Server, ServerOptions
from tests.services.ports import LOOPBACK

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("description", "family", "host"),
    [
        ("tcp:0", socket.AF_INET, "0.0.0.0"),
        (f"tcp:port=0:interface={LOOPBACK}", socket.AF_INET, LOOPBACK),
        (r"tcp:0:interface=\:\:1", socket.AF_INET6, "::1"),
        ("tcp6:0", socket.AF_INET6, "::"),
        (r"tcp6:port=0:interface=\:\:1:backlog=10", socket.AF_INET6, "::1"),
    ],
)
def test_tcp(description: str, family: int, host: str) -> None:
    with closing(listen(description, 20.0).socket) as found:
        assert (found.family, found.getsockname()[0]) == (family, host)
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert not found.getblocking()


def test_a_descriptor_of_whatever_kind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "socket"))
        [description] = descriptions(None, None, None, given.fileno())
        found = listen(description)
        assert (found.socket.family, found.path) == (socket.AF_UNIX, "")
        found.socket.detach()


def test_the_file_of_a_unix_socket_is_made_as_told_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "with:colon"
    [description] = descriptions(None, None, str(path), None)
    for mode in ("660", "600"):
        # The second one finds the file of the first one, which has not removed it.
        found = listen(f"{description}:mode={mode}")
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
        found.socket.close()
    found.unlink()
    found.unlink()
    assert not path.exists()


def test_the_file_of_a_successor_stays_when_the_one_before_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    before, successor = listen(f"unix:{path}"), listen(f"unix:{path}")
    for listening in (before, successor):
        with closing(listening.socket):
            assert path.exists()
        listening.unlink()
    assert not path.exists()


@pytest.mark.parametrize(
    "description",
    [
        "",
        "8000",
        "udp:8000",
        "tcp:",
        "tcp:port=http",
        "tcp:interface=localhost",
        "tcp:8000:color=red",
        "fd:x",
    ],
)
def test_a_description_that_means_nothing(description: str) -> None:
    with pytest.raises(ValueError, match=r"endpoint|invalid literal"):
        listen(description)


def test_a_server_that_cannot_listen_everywhere_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(listen("tcp:0").socket) as taken:
        path = tmp_path / "socket"
        places = [f"unix:{path}", f"tcp:{taken.getsockname()[1]}"]
        server = Server(None, ServerOptions(endpoints=places))
        try:
            with pytest.raises(OSError, match="in use"):
                server.run()
        finally:
            server.loop.close()
    assert not path.exists()
