"""The steps of the Dockerfile, run in a chroot: the image that they make serves, and drains at SIGTERM."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from switchboard import __version__
from tests.deploy.chroot import Image, may_run
from tests.deploy.dockerfile import health_command
from tests.project import exchanges
from tests.project.exchanges import Site
from tests.services.debootstrap import find_debootstrap
from tests.services.ports import free_port
from tests.services.process import Process, children
from tests.services.redis import Redis

pytestmark = [pytest.mark.once, pytest.mark.soak]

LARGEST = 200_000_000
"""Bytes that the image may have, unpacked."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Debian, and all steps, with packages from a network; half a gigabyte, which does not stay."""
    if find_debootstrap() is None or not may_run():
        pytest.skip("THE IMAGE IS NOT BUILT: it needs debootstrap, root, chroot and unshare")
    folder = tmp_path_factory.mktemp("image")
    built = Image(folder)
    built.build()
    yield built
    shutil.rmtree(folder)


class Container:
    """The image's server, with a root file system that it cannot write."""

    def __init__(self, image: Image, log: Path, **settings: str) -> None:
        self.image = image
        self.settings = {"PORT": str(free_port()), "ALLOWED_HOSTS": "127.0.0.1", **settings}
        self.process = Process(image.command(**self.settings), log=log)
        self.process.wait_until(lambda: "Switchboard listens" in self.process.log_text())

    @property
    def pid(self) -> int:
        """The process that is 1 inside."""
        (pid,) = children(self.process.pid)
        return pid

    @property
    def site(self) -> Site:
        """The server, with the key that the first start printed."""
        (key,) = re.findall(r"^API key: +(\S+)$", self.process.log_text(), re.MULTILINE)
        return Site(int(self.settings["PORT"]), key)

    def healthy(self) -> bool:
        """What HEALTHCHECK says."""
        command = self.image.inside(health_command(self.image.stage), **self.settings)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def stop(self) -> int:
        """STOPSIGNAL to the process that is 1 inside; its exit code."""
        os.kill(self.pid, signal.Signals[self.image.stage.last("STOPSIGNAL")])
        return self.process.wait()


@contextmanager
def running(image: Image, log: Path, **settings: str) -> Iterator[Container]:
    """A server in an empty volume, for the time of a context."""
    container = None
    try:
        container = Container(image, log, **settings)
        yield container
    finally:
        if container is not None:
            container.process.kill_session()
        image.empty_volume()


@pytest.mark.timeout(1800)
def test_the_image_is_built_and_is_small(image: Image) -> None:
    command = image.inside(["switchboard-server", "--version"])

    assert image.size() < LARGEST
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1] == __version__
    )


@pytest.mark.timeout(1800)
def test_it_serves_as_its_user_from_a_read_only_root_and_drains(image: Image, tmp_path: Path) -> None:
    with running(image, tmp_path / "log") as container:
        status = Path(f"/proc/{container.pid}/status").read_text()
        mounts = [
            line.split()[1:4] for line in Path(f"/proc/{container.pid}/mounts").read_text().splitlines()
        ]
        writable = {place for place, kind, how in mounts if kind != "proc" and how.split(",")[0] == "rw"}

        assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
        assert writable == {image.stage.last("VOLUME")}
        assert container.healthy()

        exchanges.tokens(container.site)
        exchanges.rooms(container.site)
        exchanges.events(container.site)
        exchanges.requests(container.site)
        assert "swagger-ui" in container.site.text("/api/docs")
        assert "--primary" in container.site.text("/static/admin/css/base.css")

        with container.site.socket("/ws") as client:
            assert container.stop() == 0
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=60)
            assert client.close_code == 1012
        assert not container.healthy()


@pytest.mark.timeout(1800)
def test_workers_have_a_place_for_what_they_share(image: Image, tmp_path: Path) -> None:
    """Metrics of several workers are files; /tmp cannot be written, VAR_DIR can."""
    with (
        Redis(tmp_path) as redis,
        running(image, tmp_path / "log", WORKERS="2", REDIS_URL=redis.url) as container,
    ):
        exchanges.tokens(container.site)
        assert "switchboard_connections" in container.site.text("/metrics")
        assert container.stop() == 0
