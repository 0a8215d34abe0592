"""The base of every REST endpoint: API keys or a staff session, scopes and permissions, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotFound, PermissionDenied, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from routing_app.core.access import keys, masking, staff
from routing_app.core.access.bearer import presented_key, presented_token
from routing_app.core.access.grants import Grant
from routing_app.core.access.masking import SecretAccess
from routing_app.core.access.patterns import EVERYTHING, Patterns
from routing_app.core.issuers import access_tokens
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.models import Scope
from routing_app.core.synchronous import from_sync

if TYPE_CHECKING:
    from rest_framework.views import APIView

WRONG_KEY: Final = "API key is wrong or revoked, or has expired."
WITHOUT_ADDRESSES: Final = "An API key that is not limited to some addresses is needed."
WRONG_TOKEN: Final = "Access token is wrong or revoked, or has expired."  # noqa: S105 - a sentence
VERBS: Final = {"POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}
"""The permission of a model that a method needs; every other one needs `view`."""

verify_sync: Final = from_sync(access_tokens.verify)


def needed(scopes: str) -> str:
    """The sentence for a credential that is valid and lacks the scope of a call."""
    return f"An API key with the scope {scopes} is needed."


def secret_access(request: Request) -> SecretAccess:
    """The secrets that the caller of a view of REST Framework sees whole."""
    return request.auth.secrets if isinstance(request.auth, Grant) else masking.of_user(request.user)


def grant_of(request: Request) -> Grant:
    """The rights of the caller of a view of REST Framework. Uses the ORM for a user."""
    return request.auth if isinstance(request.auth, Grant) else staff.grant_of(request.user)


def addresses_of(request: Request) -> Patterns:
    """The addresses that the caller's scopes are for."""
    return request.auth.addresses if isinstance(request.auth, Grant) else EVERYTHING


def check_address(request: Request, address: str) -> None:
    """Raise PermissionDenied for an address that the caller's API key is not for."""
    if not addresses_of(request).cover(address):
        raise AddressDenied


class AddressDenied(PermissionDenied):
    """The credential is valid, and not for an address of the call."""

    default_detail = "The credential does not allow this address."


class GrantHolder:
    """Stands where Django has a user: the holder of a valid API key or access token."""

    is_authenticated = True
    is_active = True
    is_staff = False
    is_anonymous = False
    pk = None

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    def __str__(self) -> str:
        return self.grant.identity


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts a valid key or access token, refuses a wrong, revoked or expired one, and leaves a request
    without one to the next class.
    """

    def authenticate(self, request: Request) -> tuple[GrantHolder, Grant] | None:
        """The holder and its rights. Raises AuthenticationFailed."""
        plain = presented_key(request)
        if token := presented_token(request, plain):
            return self._by_token(token)
        if not plain:
            return None
        row = keys.find(plain)
        if row is None:
            raise AuthenticationFailed(WRONG_KEY)
        grant = keys.grant_of(row)
        return GrantHolder(grant), grant

    def _by_token(self, token: str) -> tuple[GrantHolder, Grant]:
        try:
            grant = verify_sync(token)
        except TokenRefused:
            raise AuthenticationFailed(WRONG_TOKEN) from None
        return GrantHolder(grant), grant

    def authenticate_header(self, request: Request) -> str:
        """Makes a missing key a 401."""
        return "Bearer"


class HasScope(BasePermission):
    """A key needs the scope of the call, a staff session the permission of Django.

    A view names scopes by method in `scopes`; by default reading needs `read` and the rest `manage`. It names
    permissions in `permissions`; by default they are those of its model, and where it has none the call is
    for superusers. A key that is limited to some addresses may use views that hold to them: `by_address`.
    """

    message: str | None = None
    """What a key lacks: the `detail` of the answer."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May this caller use this method of this view?"""
        if not isinstance(request.auth, Grant):
            user = request.user
            return bool(user.is_active and user.is_staff and user.has_perm(_permission(request, view)))
        if request.auth.is_limited and not getattr(view, "by_address", False):
            self.message = WITHOUT_ADDRESSES
            return False
        named: dict[str, str] = getattr(view, "scopes", {})
        default = Scope.READ if request.method in SAFE_METHODS else Scope.MANAGE
        scope = named.get(request.method or "", default)
        self.message = needed(scope)
        return scope in request.auth.scopes


def _permission(request: Request, view: APIView) -> str:
    """The permission of Django that a call needs; "" is one that only superusers have."""
    method = request.method or ""
    named: dict[str, str] = getattr(view, "permissions", {})
    if method in named:
        return named[method]
    queryset = getattr(view, "queryset", None)
    if queryset is None:
        return ""
    # A POST to an action does something to a row that is there.
    acts = method == "POST" and getattr(view, "action", "create") != "create"
    verb = "change" if acts else VERBS.get(method, "view")
    return f"{queryset.model._meta.app_label}.{verb}_{queryset.model._meta.model_name}"


class Pages(PageNumberPagination):
    """100 rows a page, `?page_size=` up to 1,000."""

    page_size = 100
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
