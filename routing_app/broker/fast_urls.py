"""The HTTP paths that are answered without Django's request cycle; every one is in `urls.py` as well."""

from __future__ import annotations

from django.urls import path

from routing_app.broker import protocols
from routing_app.core.rest.history import history_view
from routing_app.core.rest.publish import batch_view, publish_view

urlpatterns = [
    path("api/publish", publish_view),
    path("api/publish/batch", batch_view),
    path("api/history", history_view),
    *protocols.fast_urls(),
]
