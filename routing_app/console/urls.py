"""Paths of the console's pages."""

from __future__ import annotations

from django.urls import path

from routing_app.console.menu import PAGES
from routing_app.console.views import page_view

app_name = "console"
urlpatterns = [path(f"console/{page.path}", page_view, {"page": page}, name=page.name) for page in PAGES]
