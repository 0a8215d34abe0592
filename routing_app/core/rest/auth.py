"""The base of every REST endpoint: API keys or a staff session, scopes, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from routing_app.core.access import keys, masking
from routing_app.core.access.bearer import presented_key
from routing_app.core.access.masking import SecretAccess
from routing_app.core.models import ApiKey, Scope

if TYPE_CHECKING:
    from rest_framework.views import APIView

WRONG_KEY: Final = "API key is wrong or revoked."


def secret_access(request: Request) -> SecretAccess:
    """The secrets that the caller of a view of REST Framework sees whole."""
    if isinstance(request.auth, ApiKey):
        return masking.of_scopes(request.auth.scopes)
    return masking.of_user(request.user)


class KeyHolder:
    """Stands where Django has a user: the holder of a valid API key."""

    is_authenticated = True
    is_active = True
    is_staff = False
    is_anonymous = False
    pk = None

    def __init__(self, key: ApiKey) -> None:
        self.key = key

    def __str__(self) -> str:
        return self.key.name


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts a valid key, refuses a wrong or revoked one, leaves a request without one to the next class."""

    def authenticate(self, request: Request) -> tuple[KeyHolder, ApiKey] | None:
        """The holder and the key. Raises AuthenticationFailed."""
        plain = presented_key(request)
        if not plain:
            return None
        row = keys.find(plain)
        if row is None:
            raise AuthenticationFailed(WRONG_KEY)
        return KeyHolder(row), row

    def authenticate_header(self, request: Request) -> str:
        """Makes a missing key a 401."""
        return "Bearer"


class HasScope(BasePermission):
    """A key needs the scope of the call; a staff session may do everything.

    A view names scopes by method in `scopes`; by default reading needs `read` and the rest `manage`.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May this caller use this method of this view?"""
        if not isinstance(request.auth, ApiKey):
            return bool(request.user.is_active and request.user.is_staff)
        named: dict[str, str] = getattr(view, "scopes", {})
        default = Scope.READ if request.method in SAFE_METHODS else Scope.MANAGE
        return named.get(request.method or "", default) in request.auth.scopes


class Pages(PageNumberPagination):
    """100 rows a page, `?page_size=` up to 1,000."""

    page_size_query_param = "page_size"
    max_page_size = 1000
    last_page_strings = ()

    def get_page_number(self, request: Request, paginator: Any) -> int | str:
        """The number of the page. Raises NotFound for one that is written and empty."""
        if request.query_params.get(self.page_query_param) == "":
            raise NotFound("Invalid page.")
        return super().get_page_number(request, paginator)

    def get_page_size(self, request: Request) -> int | None:
        """Rows a page. Raises ValidationError for what is not from 1 to 1,000."""
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= self.max_page_size:
            raise ValidationError({self.page_size_query_param: [f"From 1 to {self.max_page_size}."]})
        return int(text)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """The bounds, for the OpenAPI document."""
        page, size = super().get_schema_operation_parameters(view)
        page["schema"] |= {"minimum": 1}
        size["schema"] |= {"minimum": 1, "maximum": self.max_page_size}
        return [page, size]
