"""compose.yaml: its form by the published schema, and that its parts fit each other and the server."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import redis
from jsonschema import Draft202012Validator

from switchboard import __version__
from tests.deploy.dockerfile import stages
from tests.deploy.files import COMPOSE, compose, known_variables, location
from tests.services.databases import REPOSITORY
from tests.services.nginx import COMPOSE_SITE
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process
from tests.services.redis import find_redis

pytestmark = pytest.mark.once

SERVICES: dict[str, Any] = compose()["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("switchboard:")}


def schema() -> dict[str, Any]:
    """The schema of compose-spec, as a package brings it."""
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def problems(document: dict[str, Any]) -> list[str]:
    """Where a document departs from the schema."""
    return [error.json_path for error in Draft202012Validator(schema()).iter_errors(document)]


def test_it_is_what_the_schema_wants() -> None:
    assert schema()["$id"] == "compose_spec.json"
    assert problems(compose()) == []


def test_the_schema_knows_what_is_wrong() -> None:
    wrong = json.loads(json.dumps(compose()))
    wrong["services"]["broker"]["depend_on"] = {}
    wrong["services"]["nginx"]["healthcheck"]["interval"] = 10
    assert {"$.services.broker", "$.services.nginx.healthcheck.interval"} <= set(problems(wrong))


def test_there_are_two_replicas_and_what_they_need() -> None:
    assert {name: one["image"].partition(":")[0] for name, one in SERVICES.items() if name not in OURS} == {
        "postgres": "postgres",
        "redis": "redis",
        "nginx": "nginx",
    }
    assert SERVICES["broker"]["deploy"] == {"replicas": 2}
    assert {one["image"] for one in OURS.values()} == {f"switchboard:{__version__}"}
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["nginx"]


def test_each_waits_for_what_it_needs() -> None:
    waits = {
        (name, other, found["condition"])
        for name, one in SERVICES.items()
        for other, found in one.get("depends_on", {}).items()
    }
    assert waits == {
        ("postgres", "secrets", "service_completed_successfully"),
        ("redis", "secrets", "service_completed_successfully"),
        ("migrate", "postgres", "service_healthy"),
        ("broker", "migrate", "service_completed_successfully"),
        ("broker", "redis", "service_healthy"),
        ("nginx", "broker", "service_healthy"),
    }
    healthy = {other for _, other, condition in waits if condition == "service_healthy"} - {"broker"}
    assert all("test" in SERVICES[name]["healthcheck"] for name in healthy)
    assert stages()[-1].all("HEALTHCHECK")


def test_its_settings_are_the_servers() -> None:
    for one in OURS.values():
        assert set(one["environment"]) <= known_variables()


def test_no_secret_is_in_it() -> None:
    named = {key: value for one in SERVICES.values() for key, value in one.get("environment", {}).items()}
    secret = {key: value for key, value in named.items() if re.search("PASSWORD|SECRET|KEY|URL", key)}

    assert set(secret) == {"DATABASE_URL_FILE", "REDIS_URL_FILE", "SECRET_KEY_FILE", "POSTGRES_PASSWORD_FILE"}
    assert all(value.startswith("/run/switchboard/") for value in secret.values())
    assert not re.search(r"://[^/\s]*:[^/\s]*@", COMPOSE.read_text())


def made(folder: Path) -> dict[str, str]:
    """What the script of the service `secrets` leaves in a folder."""
    shell, script, _ = SERVICES["secrets"]["entrypoint"]
    assert SERVICES["secrets"]["configs"] == [{"source": "secrets", "target": script}]
    file = REPOSITORY / compose()["configs"]["secrets"]["file"]
    subprocess.run([shell, file, folder], check=True)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_secrets_are_made_once_and_fit_each_other(tmp_path: Path) -> None:
    first = made(tmp_path)
    password, other = first["postgres_password"], first["redis.conf"].split()[1]

    assert first == made(tmp_path)
    assert len({password, other, first["secret_key"]}) == 3
    assert all(re.fullmatch("[0-9a-f]{48}", one) for one in (password, other, first["secret_key"]))
    user, database = (SERVICES["postgres"]["environment"][f"POSTGRES_{name}"] for name in ("USER", "DB"))
    assert first["database_url"] == f"postgres://{user}:{password}@postgres:5432/{database}"
    assert first["redis_url"] == f"redis://:{other}@redis:6379/0"
    (tmp_path / "other").mkdir()
    assert made(tmp_path / "other")["secret_key"] != first["secret_key"]


def test_redis_takes_its_file_and_the_url_that_is_made_with_it(tmp_path: Path) -> None:
    secrets, port = made(tmp_path), free_port()
    assert SERVICES["redis"]["command"] == ["redis-server", "/run/switchboard/redis.conf"]
    log = tmp_path / "log"
    program = Process(
        [str(find_redis()), tmp_path / "redis.conf", "--port", str(port)], log=log, cwd=tmp_path
    )
    try:
        program.wait_until(lambda: answers(port))
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as stranger:
            stranger.ping()
        with redis.from_url(secrets["redis_url"].replace("@redis:6379", f"@{LOOPBACK}:{port}")) as known:
            assert known.ping()
            assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert known.config_get("appendonly") == {"appendonly": "yes"}
    finally:
        program.stop()


def test_every_secret_that_is_named_is_made(tmp_path: Path) -> None:
    text = COMPOSE.read_text()
    assert set(re.findall(r"/run/switchboard/([\w.]+)", text)) == set(made(tmp_path)) - {"complete"}


def test_only_nginx_is_believed() -> None:
    front = compose()["networks"]["front"]["ipam"]["config"][0]
    address = SERVICES["nginx"]["networks"]["front"]["ipv4_address"]

    assert SERVICES["broker"]["environment"]["TRUSTED_PROXIES"] == address
    assert front == {"subnet": "172.31.240.0/24", "ip_range": "172.31.240.128/25"}
    assert address.startswith("172.31.240.")
    assert int(address.rpartition(".")[2]) < 128


def test_containers_of_ours_write_nowhere_but_in_memory() -> None:
    volume = stages()[-1].last("VOLUME")
    for one in OURS.values():
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        places = [place.partition(":")[0] for place in one["tmpfs"]] + [
            place.split(":")[1] for place in one["volumes"]
        ]
        assert {"/tmp", volume} <= set(places)


def test_the_drain_has_its_time() -> None:
    from django.conf import settings

    assert int(SERVICES["broker"]["stop_grace_period"].removesuffix("s")) > settings.DRAIN_SECONDS + 5


def test_nginx_passes_on_to_the_port_that_the_image_exposes() -> None:
    assert REPOSITORY / compose()["configs"]["nginx"]["file"] == COMPOSE_SITE
    port = stages()[-1].last("EXPOSE")
    site = COMPOSE_SITE.read_text()
    listens = re.findall(r"listen (\d+);", site)

    assert f"set $broker broker:{port};" in site
    assert SERVICES["nginx"]["ports"] == [f"127.0.0.1:${{SWITCHBOARD_PORT:-8080}}:{listens[0]}"]
    assert f"http://127.0.0.1:{listens[0]}/health/ready" in SERVICES["nginx"]["healthcheck"]["test"]
    assert "deny all;" in location(COMPOSE_SITE, "/metrics")
