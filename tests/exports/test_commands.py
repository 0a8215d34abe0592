"""`manage.py export` and `import` as an operator runs them, on databases of this run's kind."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.services import prestarted
from tests.services.databases import REPOSITORY, Databases, sql
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until

DOCUMENT: Final = (REPOSITORY / "docs/export.md").read_text(encoding="utf-8")
PLAIN: Final = "sb_an API key of this file alone"
KEY: Final = f"""switchboard: 1
keys:
- name: backend
  prefix: {PLAIN[:8]}
  scopes: [manage]
  hash: {sha256(PLAIN.encode()).hexdigest()}
"""


def run(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of manage.py."""
    return prestarted.run([sys.executable, "manage.py", *arguments], env, REPOSITORY)


def between(name: str) -> str:
    """A block of the document."""
    _, _, rest = DOCUMENT.partition(f"<!-- {name} -->\n```")
    text = rest.partition("\n")[2].partition(f"```\n<!-- /{name} -->")[0]
    assert text, f"the document has lost its block {name}"
    return text


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs while files are imported."""
    with running(databases, tmp_path_factory.mktemp("exports")) as server:
        yield server


@pytest.fixture
def fresh(broker: Server, databases: Databases) -> Iterator[dict[str, str]]:
    """The environment of a fresh database."""
    url = databases.create()
    yield {**broker.env, "DATABASE_URL": url}
    databases.drop(url)


def test_the_example_of_the_document_goes_into_a_fresh_database_and_out_again_byte_by_byte(
    fresh: dict[str, str], databases: Databases, tmp_path: Path
) -> None:
    example, first, second = (tmp_path / name for name in ("example.yaml", "first.yaml", "second.yaml"))
    example.write_text(between("example.yaml"))

    made = run(fresh, "import", str(example))
    again = run(fresh, "import", str(example))
    assert run(fresh, "export", "--output", str(first)).returncode == 0

    assert (made.returncode, made.stdout) == (0, between("first"))
    assert again.stdout == "0 created, 0 changed, 0 deleted, 7 unchanged\n"
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    url = databases.create()
    try:
        other = {**fresh, "DATABASE_URL": url}
        assert run(other, "import", str(first)).returncode == 0
        second.write_text(run(other, "export").stdout)
    finally:
        databases.drop(url)
    assert first.read_bytes() == second.read_bytes()
    assert b"scope: offer" in first.read_bytes()


def test_an_error_is_told_with_its_place_and_nothing_is_changed(
    fresh: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "switchboard.yaml"
    file.write_text("switchboard: 1\nrules:\n- {pattern: 'room:bus/*', history_size: 10001}\n")

    wrong = run(fresh, "import", str(file))

    assert wrong.returncode == 1
    shown = wrong.stderr.replace(str(file), file.name)
    assert shown in DOCUMENT
    assert sql(fresh["DATABASE_URL"], "SELECT * FROM core_addressrule") == []
    for arguments, message in (
        (["import", str(tmp_path / "none")], f"cannot read {tmp_path}/none: No such file"),
        (["export", "--without", "token"], "--without: expected one of rules, limits,"),
        (["export", "--output", str(tmp_path)], f"cannot write {tmp_path}: Is a directory"),
    ):
        result = run(fresh, *arguments)
        assert result.returncode == 1
        assert message in result.stderr


def test_a_dry_run_leaves_no_trace(fresh: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "switchboard.yaml"
    file.write_text(between("example.yaml"))

    planned = run(fresh, "import", str(file), "--dry-run")

    assert planned.stdout == between("first").rstrip("\n") + "; nothing was changed: --dry-run\n"
    for table in ("core_addressrule", "rooms_room", "tokens_registeredtoken", "core_auditentry"):
        assert sql(fresh["DATABASE_URL"], f"SELECT * FROM {table}") == []


def test_commands_and_rows_are_in_the_audit_log(fresh: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "switchboard.yaml"
    file.write_text(between("example.yaml"))
    run(fresh, "import", str(file))
    run(fresh, "export")
    rows = sql(fresh["DATABASE_URL"], "SELECT action, target FROM core_auditentry ORDER BY id")

    assert [action for action, _ in rows] == [*["create"] * 7, "import", "export"]
    assert rows[7][1] == f"source={file}"


def test_a_server_that_runs_takes_an_imported_key_and_refuses_a_pruned_one(
    broker: Server, tmp_path: Path
) -> None:
    before, new = tmp_path / "before", tmp_path / "new"
    broker.manage("export", "--with-hashes", "--output", str(before))
    new.write_text(KEY)
    with httpx.Client(base_url=broker.url, headers={"X-API-Key": PLAIN}, timeout=60) as client:
        assert client.get("/api/rules/").status_code == 401
        broker.manage("import", str(new))
        wait_until(lambda: client.get("/api/rules/").status_code == 200)

        assert "0 deleted" in broker.manage("import", str(before))
        assert client.get("/api/rules/").status_code == 200
        assert "0 created, 0 changed, 1 deleted" in broker.manage("import", str(before), "--prune")
        wait_until(lambda: client.get("/api/rules/").status_code == 401)


def test_a_rule_that_is_imported_holds_in_a_server_that_runs(broker: Server, tmp_path: Path) -> None:
    file = tmp_path / "switchboard.yaml"
    file.write_text("switchboard: 1\nrules:\n- {pattern: 'token:kept', history_size: 5}\n")
    headers = {"X-API-Key": broker.api_key}
    broker.manage("import", str(file))

    with httpx.Client(base_url=broker.url, headers=headers, timeout=60) as client:

        def kept() -> bool:
            client.post("/api/publish", json={"addresses": ["token:kept"], "message": "one"})
            found = client.get("/api/history", params={"address": "token:kept"})
            return found.status_code == 200 and bool(found.json()["messages"])

        wait_until(kept)
