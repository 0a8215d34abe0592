"""Every HTTP path of the server, in one table. `sockets.py` is its twin for WebSockets."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]
