"""The group "Operators (read only)" of a new database, and that it does not come back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

LOOK = """
import json
from django.apps import apps
from django.contrib.auth.models import Group

ours = [app for app in apps.get_app_configs() if app.name.startswith(("routing_app.", "sessions_app"))]
models = [model._meta for app in ours for model in app.get_models()]
shown = [model for model in models if "view" in model.default_permissions]
wanted = {f"{model.app_label}.view_{model.model_name}" for model in shown}
wanted |= {"core.view_messages", "core.view_settings"}
groups = {}
for group in Group.objects.all():
    permissions = group.permissions.values_list("content_type__app_label", "codename")
    groups[group.name] = sorted(map(".".join, permissions))
print("FOUND", json.dumps([groups, sorted(wanted)]))
"""
DELETE = "from django.contrib.auth.models import Group; Group.objects.all().delete()"


@pytest.fixture(scope="module")
def server(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a new database, which its first start has migrated."""
    with running(databases, tmp_path_factory.mktemp("operators")) as one:
        yield one


def look(server: Server) -> tuple[dict[str, list[str]], list[str]]:
    groups, wanted = json.loads(server.manage("shell", "-v0", "-c", LOOK).rpartition("FOUND ")[2])
    return groups, wanted


def test_a_new_database_has_it_once(server: Server) -> None:
    groups, wanted = look(server)
    assert len(wanted) > 10
    assert groups == {"Operators (read only)": wanted}

    server.manage("shell", "-v0", "-c", DELETE)
    server.manage("migrate", "-v0")
    assert look(server)[0] == {}
