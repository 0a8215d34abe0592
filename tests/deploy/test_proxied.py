"""The site of compose.yaml in a real nginx, and the unit in systemd's own check."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.deploy.files import manifests
from tests.services.databases import REPOSITORY
from tests.services.handshake import ask
from tests.services.nginx import COMPOSE_SITE, Nginx, find_nginx
from tests.services.ports import LOOPBACK
from tests.services.server import Server

pytestmark = pytest.mark.once

HOST = manifests()["ConfigMap"]["data"]["ALLOWED_HOSTS"]


@pytest.fixture(scope="module")
def nginx(configured: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if find_nginx() is None:
        pytest.skip("THE SITE OF compose.yaml IS NOT TESTED: nginx is not installed (make test installs it)")
    with Nginx(tmp_path_factory.mktemp("nginx"), configured.port, COMPOSE_SITE) as nginx:
        yield nginx


def test_sockets_come_through(nginx: Nginx) -> None:
    url = f"ws://{HOST}/ws"
    with (
        connect(f"{url}?RegisterToken=tried", proxy=None, address=(LOOPBACK, nginx.port)) as receiver,
        connect(url, proxy=None, address=(LOOPBACK, nginx.port)) as sender,
    ):
        sender.send("tried|Hello")
        assert receiver.recv(timeout=60) == "Hello"


def test_the_check_of_nginx_passes_and_its_metrics_do_not(nginx: Nginx) -> None:
    assert ask(nginx.port, "GET", "/health/ready").status == 200
    assert ask(nginx.port, "GET", "/metrics", host=HOST).status == 403


@pytest.mark.parametrize(("scheme", "marked"), [("https", True), ("http", False)])
def test_a_proxy_in_front_says_the_scheme(nginx: Nginx, scheme: str, marked: bool) -> None:
    head = ask(nginx.port, "GET", "/admin/login/", ("X-Forwarded-Proto", scheme), host=HOST)
    assert ("; secure" in str(head.header("set-cookie")).lower()) is marked


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("THE UNIT IS NOT TESTED: systemd-analyze is not installed")
    text = (REPOSITORY / "deploy" / "switchboard.service").read_text(encoding="utf-8")
    unit = tmp_path / "switchboard.service"
    # Programs, users and pages have to be there for it.
    text = re.sub(r"/opt/switchboard/README\.md", str(REPOSITORY / "README.md"), text)
    unit.write_text(re.sub(r"/opt/switchboard/\.venv/bin/python", "/bin/true", text))
    result = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)

    said = [
        line
        for line in (result.stdout + result.stderr).splitlines()
        if str(unit) in line or unit.name in line
    ]
    assert (result.returncode, said) == (0, [])
    unit.write_text(text.replace("TimeoutStopSec", "TimeoutStopSeconds"))
    wrong = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)
    assert "TimeoutStopSeconds" in wrong.stdout + wrong.stderr
