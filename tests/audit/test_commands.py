"""Commands that change something, or hand out a credential, have an entry of the user who ran them."""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import execute_from_command_line

from routing_app.core.audit import commands
from routing_app.core.audit.actor import command_line
from routing_app.core.models import AuditEntry
from routing_app.tokens.models import RegisteredToken
from tests.audit.conftest import CANARY
from tests.audit.test_rest import assert_no_canary

pytestmark = pytest.mark.django_db(transaction=True)

ME = pwd.getpwuid(os.getuid()).pw_name


def run(*words: str) -> None:
    """Run a command line as `manage.py` does."""
    argv = ["manage.py", *words]
    commands.run(argv, lambda: execute_from_command_line(argv))


def entries() -> list[tuple[Any, ...]]:
    assert_no_canary()
    rows = AuditEntry.objects.order_by("id").values_list("actor", "actor_kind", "action", "target", "outcome")
    return list(rows)


def test_a_command_has_an_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.json"
    table.write_text(f'{{"{CANARY}": true}}')

    run("import_tokens", str(table))
    run("createpublisher", "demo")
    run("gentoken", "--publisher", "demo", "--customer", "carl", "--ttl", "60")

    assert RegisteredToken.objects.filter(token__contains="anary").exists()
    assert entries() == [
        (ME, "command", "import_tokens", f"source={table}", "ok"),
        (ME, "command", "createpublisher", "name=demo", "ok"),
        (ME, "command", "gentoken", "publisher=demo customer=carl", "ok"),
    ]
    assert capsys.readouterr().out.rpartition("\n")[0].rpartition(".")[2] not in repr(entries())


def test_one_that_fails_has_one_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("import_tokens", f"https://ann:{CANARY}@127.0.0.1:9/table.json?key={CANARY}")
    with pytest.raises(SystemExit):
        run("gentoken", "--publisher", "nobody", "--customer", "carl")

    assert [row[2:] for row in entries()] == [
        ("import_tokens", "source=https://127.0.0.1/table.json", "failed"),
        ("gentoken", "publisher=nobody customer=carl", "failed"),
    ]
    assert "CommandError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("options",), ("check",), ("showmigrations", "core"), ("migrate", "--help"), ("--version",), ()]
)
def test_reading_has_none(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        run(*words)
    assert entries() == []
    assert capsys.readouterr().out


def test_a_word_that_is_no_command_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(f"nonsense{CANARY}")
    assert entries() == []
    assert "Unknown command" in capsys.readouterr().err


def test_a_user_without_a_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)

    assert command_line() == ("command", "4000000")


def test_the_command_line_of_this_project_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    from broker_project.__main__ import main

    monkeypatch.setattr(sys, "argv", ["manage.py", "clearsessions"])
    main()

    assert entries() == [(ME, "command", "clearsessions", "", "ok")]
