"""As any app with handlers."""

from __future__ import annotations

from django.apps import AppConfig


class AskingConfig(AppConfig):
    """Holds `requests.py`."""

    name = "bench.asking"
    label = "bench_asking"
