"""`manage.py createapikey`: a key that REST knows, and an entry in the audit log."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from routing_app.core.access import keys
from routing_app.core.models import ApiKey, AuditEntry

pytestmark = pytest.mark.django_db


def create(*arguments: str) -> str:
    printed = StringIO()
    call_command("createapikey", *arguments, stdout=printed)
    return printed.getvalue()


@pytest.mark.parametrize("scopes", [["publish", "manage"], ["publish,manage"]])
def test_it_prints_a_key_with_these_scopes_alone(scopes: list[str]) -> None:
    printed = create("shop", "--scopes", *scopes, "--addresses", "token:*")
    row = keys.find(printed.strip())

    assert row is not None
    assert (row.name, row.scopes, row.addresses) == ("shop", ["manage", "publish"], ["token:*"])
    assert printed == f"{printed.strip()}\n"


def test_by_default_it_publishes_and_reads() -> None:
    row = keys.find(create("shop").strip())

    assert row is not None
    assert (row.scopes, row.addresses) == (["publish", "read"], [])


def test_it_is_recorded_without_the_key() -> None:
    plain = create("shop").strip()
    [entry] = AuditEntry.objects.all()

    assert (entry.action, entry.target) == ("create", f"core.apikey {ApiKey.objects.get().pk}")
    assert plain not in str(vars(entry))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["shop", "--scopes", "fly"], "scopes"),
        (["x" * 101], "name"),
        (["shop", "--addresses", "no address"], "addresses"),
    ],
)
def test_what_rest_refuses_is_refused_in_a_sentence(arguments: list[str], field: str) -> None:
    with pytest.raises(CommandError, match=rf"^{field}: \S.*\.?$"):
        create(*arguments)
    assert not ApiKey.objects.exists()
