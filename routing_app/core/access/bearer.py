"""API keys of requests, and tokens in an Authorization header, beside credentials of a proxy, too.

ASGI joins several headers of that name to one, with commas between, so a proxy's `Basic` may stand before or
behind a client's `Bearer`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

NEXT: Final = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9-]*\s+\S)")
"""A comma before a scheme: what stands behind it are the next credentials."""
BEARER: Final = re.compile(r"(?i)bearer\s+(\S.*)", re.DOTALL)
MAX_CREDENTIALS: Final = 4
JWT: Final = re.compile(r"e[wy][A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
"""Three parts of base64url, of which the first begins a JSON object."""
TOKEN_FIELD: Final = "access_token"  # noqa: S105 - a name


def bearer_token(header: str) -> str:
    """The token of the first `Bearer <token>`; "" where there is none."""
    matches = map(BEARER.fullmatch, _credentials(header))
    return next((match[1] for match in matches if match is not None), "")


def possible_tokens(header: str) -> list[str]:
    """The same for clients that may leave the scheme out: all that may be a token, none of another scheme."""
    return [BEARER.sub(r"\1", one) for one in _credentials(header) if BEARER.match(one) or " " not in one]


def is_token(text: str) -> bool:
    """True for a credential that looks like a JWT, in a place that takes API keys as well."""
    return text[:1] == "e" and JWT.fullmatch(text) is not None


def presented_token(request: HttpRequest | Request, plain: str) -> str:
    """The access token of a request whose `presented_key` is `plain`: that, or `?access_token=`; or ""."""
    if plain:
        return plain if is_token(plain) else ""
    return request.GET.get(TOKEN_FIELD, "")


def presented_key(request: HttpRequest | Request) -> str:
    """The API key of a request: `X-API-Key`, `Authorization: Bearer` or `?key=`; "" when there is none."""
    if key := request.headers.get("X-API-Key", ""):
        return key
    return bearer_token(request.headers.get("Authorization", "")) or request.GET.get("key", "")


def _credentials(header: str) -> list[str]:
    words = (one.strip() for one in NEXT.split(header))
    return [one for one in words if one][:MAX_CREDENTIALS]
