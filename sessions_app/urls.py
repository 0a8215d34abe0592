"""The REST paths of session control; a trailing slash is not part of them."""

from __future__ import annotations

from django.urls import path

from sessions_app import api

urlpatterns = [
    path("sessions", api.sessions),
    path("sessions/<str:id>", api.session),
    path("sessions/<str:id>/heartbeat", api.heartbeat),
    path("takeover", api.takeover),
]
