"""The broker as an app: its checks, and the protocols of all installed apps."""

from __future__ import annotations

from typing import Any

import django_stubs_ext
from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.admin.apps import AdminConfig as DjangoAdmin

from routing_app.broker import labels

django_stubs_ext.monkeypatch()  # lets Django's generic classes be subscripted, so that types are written down


class AdminConfig(DjangoAdmin):
    """Django's admin, of which all that is done is in the audit log."""

    default = False
    default_site = "routing_app.core.audit.site.AuditedSite"


class BrokerConfig(AppConfig):
    """Puts the protocols together."""

    name = "routing_app.broker"
    label = "switchboard"
    verbose_name = "Switchboard"

    def __init__(self, app_name: str, app_module: Any) -> None:
        """Django makes it before it compares labels, and would name the label alone."""
        super().__init__(app_name, app_module)
        labels.check(settings.INSTALLED_APPS, list(apps.app_configs.values()))

    def ready(self) -> None:
        """Register the system checks, and find the protocols of the installed apps."""
        from routing_app.broker import checks, protocols  # noqa: F401

        protocols.load()
