"""The base of REST's views: everything that REST Framework would else take from the project's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.response import Response

from routing_app.core.rest.auth import ApiKeyAuthentication, HasScope, Pages
from routing_app.core.rest.exceptions import answer
from routing_app.core.rest.parsers import StrictJSONParser
from routing_app.core.rest.renderers import AnyStringRenderer


class OfBroker:
    """Stands first among the bases of a view. A view is as safe in a project whose defaults are others."""

    authentication_classes: Any = (ApiKeyAuthentication, SessionAuthentication)
    permission_classes: Any = (HasScope,)
    renderer_classes: Any = (AnyStringRenderer,)
    parser_classes: Any = (StrictJSONParser,)
    throttle_classes: Any = ()
    content_negotiation_class: Any = DefaultContentNegotiation
    metadata_class: Any = SimpleMetadata
    versioning_class: Any = None
    pagination_class: Any = Pages
    filter_backends: Any = ()

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        """REST Framework: the answer to an exception."""
        return answer
