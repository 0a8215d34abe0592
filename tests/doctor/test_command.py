"""`manage.py doctor` beside real services, and beside services that are down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.services import prestarted
from tests.services.databases import REPOSITORY, Databases, sql
from tests.services.nginx import Nginx, find_nginx
from tests.services.ports import LOOPBACK, free_port
from tests.services.running import running
from tests.services.server import Server


def run(server: Server, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, with the settings of a server."""
    command = [sys.executable, "manage.py", "doctor", *arguments]
    return prestarted.run(command, {**server.env, **env}, REPOSITORY)


def examined(server: Server, *arguments: str, **env: str) -> dict[str, dict[str, Any]]:
    """Its checks by name; the exit code has to be that of the worst one."""
    result = run(server, "--json", *arguments, **env)
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert set(report) == {"checks", "connections"}
    assert all(set(check) == {"name", "status", "message", "advice"} for check in report["checks"])
    worst = {check["status"] for check in report["checks"]}
    assert result.returncode == (2 if "error" in worst else 1 if "warning" in worst else 0)
    found = {check["name"]: check for check in report["checks"]}
    found["connections"] = report["connections"]
    return found


def examined_until(
    name: str, wanted: tuple[str, str], server: Server, *arguments: str, **env: str
) -> dict[str, dict[str, Any]]:
    """The same, and once more where a check that goes by a clock has not the wanted text in a field."""
    found = examined(server, *arguments, **env)
    field, text = wanted
    return found if text in found[name][field] else examined(server, *arguments, **env)


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trusts a proxy on this machine."""
    with running(databases, tmp_path_factory.mktemp("doctor"), TRUSTED_PROXIES=LOOPBACK) as server:
        yield server


def test_real_services_are_read(broker: Server) -> None:
    wanted = "status", "ok"
    name = "database clock" if settings.REDIS_URL else "database journal"
    found = examined_until(name, wanted, broker, MAX_CONNECTIONS="1234")

    assert found["start"]["status"] == "ok"
    assert found["migrations"]["status"] == "ok"
    assert found["VAR_DIR"]["status"] == "ok"
    assert found["memory"]["status"] == "ok"
    if settings.REDIS_URL:
        assert found["database"]["message"].startswith("PostgreSQL ")
        assert found["database isolation"]["status"] == "ok"
        assert found["database clock"]["status"] == "ok"
        assert "WORKERS=1 may take 13 each" in found["database connections"]["message"]
        assert found["redis"]["message"].startswith("Redis ")
        assert found["redis eviction"]["status"] == "ok"
        assert found["redis persistence"]["status"] == "warning"  # the tests' Redis keeps nothing
        assert found["redis latency"]["message"].endswith(" ms a PING") or found["redis latency"]["advice"]
    else:
        assert found["database"]["message"].startswith("SQLite ")
        assert found["database journal"]["message"] == "WAL"
        assert found["redis"]["message"] == "none: this is for one process"
    assert found["connections"] == {"limit": 1234, "bound_by": "MAX_CONNECTIONS"}


def test_lines_say_what_to_do_and_how_many_connections_fit(broker: Server) -> None:
    result = run(broker, MAX_CONNECTIONS="1234", ALLOWED_HOSTS="one.example", METRICS_OPEN="yes")
    checks, _, bounds = result.stdout.partition("\n\n")

    assert result.returncode == 1
    assert (
        "warning  setting METRICS_OPEN: everybody who reaches /metrics reads it -> set METRICS_OPEN=no"
        in checks
    )
    assert "setting ALLOWED_HOSTS" not in checks
    assert all(line.split()[0] in ("ok", "warning") for line in checks.splitlines())
    assert all((" -> " in line) is line.startswith("warning") for line in checks.splitlines())
    assert bounds.splitlines()[1].split() == ["1,234", "MAX_CONNECTIONS"]
    assert {"descriptors", "memory"} <= {line.split()[1] for line in bounds.splitlines()[1:]}


def test_services_that_are_down_are_errors_without_a_password(broker: Server) -> None:
    port = free_port()
    found = examined(
        broker,
        "--url",
        f"https://{LOOPBACK}:{port}",
        DATABASE_URL=f"postgres://user:hushhushhush@{LOOPBACK}:{port}/name",
        REDIS_URL=f"redis://:hushhushhush@{LOOPBACK}:{port}/0",
        TLS_CERT="/nowhere.pem",
    )
    down = {name for name, check in found.items() if check.get("status") == "error"}

    assert {"database", "redis", "tls", "TLS_CERT", "proxies client address"} <= down
    assert "hush" not in json.dumps(found)
    assert "migrations" not in found


def test_of_several_redis_servers_each_is_asked(broker: Server, redis_url: str) -> None:
    port = free_port()
    found = examined(broker, REDIS_URL=f"{redis_url},redis://{LOOPBACK}:{port}/0")

    assert found["redis 1"]["message"].startswith("Redis ")
    assert found["redis 2"]["status"] == "error"
    assert f"redis://{LOOPBACK}:{port}/0" in found["redis 2"]["message"]


def test_tables_that_are_missing_are_an_error(broker: Server, databases: Databases) -> None:
    url = databases.create()
    try:
        sql(url, "DELETE FROM django_migrations WHERE app = 'rooms'")
        found = examined(broker, DATABASE_URL=url)
    finally:
        databases.drop(url)

    assert found["migrations"]["status"] == "error"
    assert "rooms.0001_initial" in found["migrations"]["message"]


def test_settings_that_do_not_fit_together_are_an_error(broker: Server) -> None:
    found = examined(broker, WORKERS="2", REDIS_URL="")

    assert found["start"]["status"] == "error"
    assert found["start"]["message"].startswith("WORKERS: ")


def test_a_setting_that_cannot_be_read_is_one_line_and_an_error(broker: Server) -> None:
    result = run(broker, PORT="door")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "switchboard: PORT: expected a whole number, but got 'door'\n"


def test_a_setting_that_cannot_be_read_is_the_one_check_of_the_object(broker: Server) -> None:
    result = run(broker, "--json", PORT="door")
    made = json.loads(result.stdout)

    assert result.returncode == 2
    [check] = made["checks"]
    assert (check["name"], check["status"]) == ("settings", "error")
    assert check["message"] == "PORT: expected a whole number, but got 'door'"
    assert made["connections"] == {"limit": 0, "bound_by": "settings"}


def test_a_first_start_that_is_to_come_is_no_fault_and_makes_no_file(broker: Server, tmp_path: Path) -> None:
    found = examined(broker, DATABASE_URL="", VAR_DIR=str(tmp_path))

    assert "is not there yet" in found["database"]["message"]
    assert {path.name for path in tmp_path.iterdir()} == set()


# --- through a proxy --------------------------------------------------------------------------------------


def test_the_address_of_a_client_arrives_where_the_proxy_is_trusted(broker: Server, tmp_path: Path) -> None:
    if find_nginx() is None:
        pytest.skip("nginx is not installed (make test installs it)")
    with Nginx(tmp_path, broker.port) as nginx:
        url = f"http://{LOOPBACK}:{nginx.port}"
        found = examined_until("proxies client address", ("status", "ok"), broker, "--url", url)

    assert found["proxies client address"] == {
        "name": "proxies client address",
        "status": "ok",
        "message": "X-Forwarded-For arrives",
        "advice": "",
    }


def test_a_proxy_that_is_not_trusted_and_a_certificate_that_nobody_takes_are_found(
    databases: Databases, tmp_path: Path
) -> None:
    with running(databases, tmp_path, HTTPS="yes") as server:
        wanted = "message", f"the server saw {LOOPBACK}"
        found = examined_until("proxies client address", wanted, server, "--url", server.url)

    assert found["tls"]["status"] == "error"
    assert "self-signed" in found["tls"]["message"]
    assert found["proxies"]["status"] == "warning"
    assert found["proxies client address"]["status"] == "warning"
    assert f"the server saw {LOOPBACK}" in found["proxies client address"]["message"]


def test_a_url_of_another_scheme_is_refused(broker: Server) -> None:
    result = run(broker, "--url", "ws://one.example")

    assert result.returncode == 2
    assert "expected http://host or https://host" in result.stderr
