"""Every HTTP path of the server: the admin, the console and the broker's."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

import switchboard

handler400 = "routing_app.core.rest.api.unreadable"
handler404 = "routing_app.core.rest.api.not_found"

urlpatterns = [
    path("admin/", admin.site.urls),
    *switchboard.urls(),
]
