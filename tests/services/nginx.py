"""A throwaway nginx with one of the sites of `deploy/`."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final, Self

from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process

SITE: Final = REPOSITORY / "deploy" / "nginx.conf"
COMPOSE_SITE: Final = REPOSITORY / "deploy" / "compose" / "nginx.conf"
MAIN: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


def find_nginx() -> str | None:
    """The program, or None. Not everybody's PATH has the folder that Debian puts it in."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Nginx:
    """One nginx on a free port in front of a server on `upstream`, without TLS; a context manager."""

    def __init__(self, folder: Path, upstream: int, site: Path = SITE) -> None:
        self.port = free_port()
        self._folder = folder
        self._file = site
        self._upstream = upstream
        self._process: Process | None = None

    def _site(self) -> str:
        site = self._file.read_text(encoding="utf-8")
        upstream = f"{LOOPBACK}:{self._upstream}"
        listen = (r"listen \d+( ssl)?;", f"listen {LOOPBACK}:{self.port};")
        of_each = {
            SITE: (
                (r"server 127\.0\.0\.1:8000;", f"server {upstream};"),
                (r"(?m)^ *ssl_certificate.*\n", ""),
            ),
            COMPOSE_SITE: ((r"set \$broker broker:8000;", f"set $broker {upstream};"),),
        }
        for pattern, replacement in (listen, *of_each[self._file]):
            site, count = re.subn(pattern, replacement, site)
            assert count, f"the site has no {pattern}"
        return site

    def __enter__(self) -> Self:
        program = find_nginx()
        assert program is not None, "nginx is not installed (make test installs it)"
        config = self._folder / "nginx.conf"
        config.write_text(MAIN.format(folder=self._folder, site=self._site()))
        command = [program, "-c", str(config), "-p", str(self._folder), "-e", "stderr"]
        self._process = Process(command, log=self._folder / "nginx.log")
        try:
            self._process.wait_until(lambda: answers(self.port))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill_session()
