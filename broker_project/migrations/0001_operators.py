"""The group "Operators (read only)": made once, so that an operator who deletes it is rid of it."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

GROUP: Final = "Operators (read only)"
PACKAGES: Final = ("routing_app.", "sessions_app")


def make_group(apps: Any, schema_editor: Any) -> None:
    """Make the group, with the permissions to view the rows of all apps of ours.

    Django makes permissions after all migrations have run. Here they are made before: their rows need the
    tables of permissions and content types alone, and Django finds them there.
    """
    using = schema_editor.connection.alias
    ours = [app for app in installed.get_app_configs() if app.name.startswith(PACKAGES)]
    for app in ours:
        create_permissions(app, verbosity=0, using=using)
    group, created = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=GROUP)
    if created:
        permissions = apps.get_model("auth", "Permission").objects.using(using)
        group.permissions.set(
            permissions.filter(
                content_type__app_label__in=[app.label for app in ours], codename__startswith="view_"
            )
        )


class Migration(migrations.Migration):
    """Runs once on every database."""

    dependencies: ClassVar = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations: ClassVar = [migrations.RunPython(make_group, migrations.RunPython.noop)]
