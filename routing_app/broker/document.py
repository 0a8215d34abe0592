"""The OpenAPI document of the broker, and its page: the same in whichever project."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

import drf_spectacular
import drf_spectacular_sidecar
from django.http import Http404, HttpRequest, HttpResponse
from django.template.backends.django import DjangoTemplates
from django.urls import reverse
from drf_spectacular.settings import patched_settings
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.permissions import AllowAny
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from routing_app.broker.document_settings import SETTINGS
from routing_app.core.rest import mount
from routing_app.core.rest.views import OfBroker

PATHS: Final = "routing_app.broker.urls"
"""The module of Django's patterns that the document describes."""
GENERATING: Final = {name: value for name, value in SETTINGS.items() if not name.startswith("SERVE_")}
PAGES: Final = Path(drf_spectacular.__file__).parent / "templates"
FILES: Final = (
    Path(drf_spectacular_sidecar.__file__).parent / "static/drf_spectacular_sidecar/swagger-ui-dist"
)
TYPES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
"""The files that the page loads. They come from the package, not from the project's static files."""


class SchemaView(OfBroker, SpectacularAPIView):
    """`/api/schema`. Its paths are those below the prefix, which is the document's server."""

    renderer_classes = SpectacularAPIView.renderer_classes
    permission_classes = (AllowAny,)
    schema = None
    urlconf = PATHS

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The document."""
        self.custom_settings = {**GENERATING, "SERVERS": [{"url": mount.prefix()}] if mount.prefix() else []}
        answer: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        return answer


class PageRenderer(TemplateHTMLRenderer):
    """Renders the template of drf-spectacular's package, whichever templates and apps the project has."""

    templates: ClassVar = DjangoTemplates(
        {"NAME": "switchboard", "DIRS": [PAGES], "APP_DIRS": False, "OPTIONS": {}}
    )

    def resolve_template(self, template_names: Iterable[str]) -> Any:
        """The template of the page."""
        return self.templates.get_template(next(iter(template_names)))


class PageView(OfBroker, SpectacularSwaggerView):
    """`/api/docs`."""

    renderer_classes = [PageRenderer]  # noqa: RUF012 - as the base class declares it
    permission_classes = (AllowAny,)
    schema = None

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The page."""
        with patched_settings(GENERATING):
            answer: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        return answer

    @staticmethod
    def _swagger_ui_resource(filename: str) -> str:
        return reverse("switchboard-docs-file", args=[filename])

    @staticmethod
    def _swagger_ui_favicon() -> str:
        return reverse("switchboard-docs-file", args=["favicon-32x32.png"])


def docs_file(request: HttpRequest, name: str) -> HttpResponse:
    """`/api/docs/files/<name>`: a file of the page."""
    if name not in TYPES:
        raise Http404(name)
    return HttpResponse(_read(name), content_type=TYPES[name], headers={"Cache-Control": "max-age=3600"})


@cache
def _read(name: str) -> bytes:
    return (FILES / name).read_bytes()
