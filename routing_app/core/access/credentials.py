"""Credentials of a handshake or a request, and the grant that each of them gives.

An access token or an API key comes as `Authorization: Bearer`, an API key also as `X-API-Key` or `?key=`, an
access token also as `?access_token=`, for browsers, which cannot set a header of a WebSocket. A credential is
never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl

from django.conf import settings

from routing_app.core.access.admission import Refused
from routing_app.core.access.bearer import TOKEN_FIELD, bearer_token, is_token
from routing_app.core.access.grants import UNBOUNDED, Grant
from routing_app.core.codes import REVOKED, UNAUTHENTICATED, UNAVAILABLE, Refusal
from routing_app.core.issuers import access_tokens
from routing_app.core.issuers.access_tokens import TokenRevoked
from routing_app.core.jwt.jwks import KeysUnavailable
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

TOKEN_ACCESS: Final = "token"  # noqa: S105 - a value of a setting
"""`<PROTOCOL>_ACCESS` where clients need a credential."""
KEY_FIELD: Final = "key"


class CredentialKind(StrEnum):
    """The checks that a credential goes through."""

    TOKEN = "token"  # noqa: S105 - a kind of credential
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential as its client has written it."""

    kind: CredentialKind
    text: str = field(repr=False)


def of_either_kind(text: str) -> Presented:
    """A credential from a place that takes both."""
    return Presented(CredentialKind.TOKEN if is_token(text) else CredentialKind.KEY, text)


def of_scope(scope: Mapping[str, Any]) -> Presented | None:
    """The credential of an ASGI scope: of a header, else of the query string; None without one."""
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in (b"authorization", b"x-api-key"):
            text = value.decode("latin-1")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
    if headers:
        if bearer := bearer_token(headers.get(b"authorization", "")):
            return of_either_kind(bearer)
        if key := headers.get(b"x-api-key", "").strip():
            return Presented(CredentialKind.KEY, key)
    return of_query_string(scope["query_string"])


def of_query_string(query: bytes) -> Presented | None:
    """The credential of a query string, as it is in a scope; None without one."""
    return of_fields(dict(parse_qsl(query.decode("latin-1")))) if query else None


def of_fields(fields: Mapping[str, str]) -> Presented | None:
    """The credential among the decoded fields of a query string; an empty field counts as none."""
    if token := fields.get(TOKEN_FIELD):
        return Presented(CredentialKind.TOKEN, token)
    if key := fields.get(KEY_FIELD):
        return Presented(CredentialKind.KEY, key)
    return None


def needs_credential(protocol: str) -> bool:
    """True where `<PROTOCOL>_ACCESS` is `token`: there its grant bounds what a client may do.

    Ask for it once per connection: elsewhere nothing has to be checked for each frame.
    """
    return bool(settings.ACCESS.get(protocol) == TOKEN_ACCESS)


async def grant_of(worker: Worker, protocol: str, presented: Presented | None) -> Grant:
    """The grant of a client of a protocol, who has presented this credential or none.

    A protocol without `<PROTOCOL>_ACCESS` takes no credentials of this kind. Raises Refused for a bad
    credential, for none where one is needed, and while it cannot be checked.
    """
    if presented is not None and protocol in settings.ACCESS:
        return await verify(worker, protocol, presented)
    if needs_credential(protocol):
        raise Refused(UNAUTHENTICATED)
    return UNBOUNDED


async def verify(worker: Worker, protocol: str, presented: Presented) -> Grant:
    """The grant of a credential. Raises Refused for a bad or revoked one, and while it cannot be checked."""
    try:
        if presented.kind is CredentialKind.TOKEN:
            return await access_tokens.verify(presented.text)
        grant = await worker.keys.find(presented.text)
    except TokenRevoked:
        raise Refused(REVOKED, Refusal.REVOKED) from None
    except TokenRefused as refused:
        logger.info("%s: access token refused: %s: %s", protocol, refused.claim, refused.why)
        raise Refused(UNAUTHENTICATED) from None
    except (KeysUnavailable, *BACKING_SERVICES) as error:
        logger.warning("%s: a credential cannot be checked: %s", protocol, type(error).__name__)
        raise Refused(UNAVAILABLE, Refusal.UNAVAILABLE) from None
    if grant is None:
        logger.info("%s: API key refused: wrong, revoked or expired", protocol)
        raise Refused(UNAUTHENTICATED)
    return grant
