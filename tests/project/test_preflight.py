"""Checks before a start that need no process of their own; `test_serve.py` has the rest."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from typing import Any

import pytest
from django.core.management import CommandError

from broker_project.serving import preflight
from broker_project.serving.preflight import StartProblem, check_redis, listen
from routing_app.core.cluster.redis_urls import without_password
from tests.services.ports import LOOPBACK, free_port

pytestmark = pytest.mark.once


@pytest.mark.parametrize("password", ["plain", "ha#sh", "sla/sh", "wh?at", "a@t"])
def test_no_part_of_a_password_is_shown(password: str) -> None:
    shown = without_password(f"redis://:{password}@host:6379/0")

    assert shown == "redis://host:6379/0"


def test_a_url_without_a_password_is_shown_as_it_is() -> None:
    assert without_password("redis://host:6379/0") == "redis://host:6379/0"
    assert without_password("unix:///run/redis.sock?db=1") == "unix:///run/redis.sock?db=1"


@pytest.mark.parametrize("url", ["redis://:hush/hush@host/0", "redis://:hush@host:port/0", "redis://[hush"])
def test_a_redis_url_that_cannot_be_read_is_one_line_without_the_password(url: str, settings: Any) -> None:
    settings.REDIS_URL = url

    with pytest.raises(StartProblem, match=r"^REDIS_URL: expected redis://host:port/number") as problem:
        check_redis()
    assert ":hush" not in str(problem.value)


def test_a_name_with_addresses_of_both_kinds_means_the_ipv4_one(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [six, four])

    with listen("localhost", port) as listening:
        assert listening.getsockname() == (LOOPBACK, port)


def test_a_start_that_cannot_migrate_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def migrate(*words: str, **options: object) -> None:
        raise CommandError("gave up after 100 tries")

    monkeypatch.setattr(preflight, "turn", lambda connection: nullcontext())
    monkeypatch.setattr(preflight, "_is_behind", lambda: True)
    monkeypatch.setattr(preflight, "call_command", migrate)

    with pytest.raises(StartProblem, match=r"^DATABASE_URL: cannot prepare .*: gave up after 100 tries$"):
        preflight.prepare_database(True, list)
