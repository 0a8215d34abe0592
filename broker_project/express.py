"""The HTTP paths that are answered without Django's request cycle; every one is in `urls.py` as well."""

from __future__ import annotations

from django.urls import include, path

from routing_app.core.express import publish_express
from routing_app.tokens.express import broadcast_express
from sessions_app.urls import urlpatterns as sessions

urlpatterns = [
    path("", broadcast_express),
    path("api/", broadcast_express),
    path("api/publish", publish_express),
    path("", include(sessions)),
]
