"""The REST paths of session control; a trailing slash is not part of them."""

from __future__ import annotations

from django.urls import path

from sessions_app import players

urlpatterns = [
    path("sessions", players.sessions),
    path("sessions/<str:id>", players.session),
    path("sessions/<str:id>/heartbeat", players.heartbeat),
    path("takeover", players.takeover),
]
