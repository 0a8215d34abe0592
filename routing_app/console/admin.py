"""Django's admin keeps the rows; its index shows what is there now, and leads to the console."""

from __future__ import annotations

from django.contrib import admin

admin.site.index_template = "console/admin_index.html"
