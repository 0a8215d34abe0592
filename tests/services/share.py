"""A pytest plugin for the processes of a pass: what each has of its own, and which tests it takes.

Tests cut and kill the connections of a Redis, and count what is subscribed there; two processes that shared
one would see each other. The databases need nothing: their names hold the process's id.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.services.databases import REPOSITORY


class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process one file after the other, but all of a folder whose tests share servers.

    Each process that takes tests of such a folder starts the folder's servers, and a start costs more than
    most tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        folder = file.rpartition("/")[0]
        return folder if _shares_servers(folder) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """xdist's hook."""
    return FolderScheduling(config, log)


@cache
def _shares_servers(folder: str) -> bool:
    conftest = REPOSITORY / folder / "conftest.py"
    return conftest.is_file() and 'scope="package"' in conftest.read_text(encoding="utf-8")


def _take_share() -> None:
    """Choose from REDIS_URLS, blank-separated, by the number in pytest-xdist's name for this process."""
    number = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    urls = os.environ.get("REDIS_URLS", "").split()
    if number and urls:
        os.environ["REDIS_URL"] = urls[int(number[1]) % len(urls)]


_take_share()
