"""An issuer of access tokens that a server knows, and the tokens that it signs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from typing import Any

from routing_app.core.access import keys
from tests.jwt.signing import SECRET, access_claims, signed
from tests.services.databases import sql
from tests.services.server import Server


def add_issuer(server: Server) -> None:
    """Have a server know the issuer `shop`."""
    url = server.database_url
    sql(url, "INSERT INTO core_issuer (name, audiences, enabled) VALUES ('shop', '[]', %s)", True)
    [(id,)] = sql(url, "SELECT id FROM core_issuer WHERE name = 'shop'")
    sql(
        url,
        "INSERT INTO core_issuerkey (issuer_id, kind, algorithm, kid, material, active)"
        " VALUES (%s, 'secret', 'HS256', '', %s, %s)",
        *(id, SECRET, True),
    )


def add_key(server: Server, name: str, scopes: Iterable[str], addresses: Iterable[str] = ()) -> str:
    """An API key for these addresses; all of them where it names none."""
    plain = secrets.token_urlsafe(30)
    sql(
        server.database_url,
        "INSERT INTO core_apikey (name, prefix, digest, scopes, addresses) VALUES (%s, %s, %s, %s, %s)",
        *(name, plain[:8], keys.digest(plain), json.dumps(list(scopes)), json.dumps(list(addresses))),
    )
    return plain


def change_key(server: Server, name: str, addresses: Iterable[str] | None) -> None:
    """Give an API key other addresses; None revokes it. No process is told."""
    if addresses is None:
        change, value = "revoked_at = CURRENT_TIMESTAMP WHERE name = %s", []
    else:
        change, value = "addresses = %s WHERE name = %s", [json.dumps(list(addresses))]
    sql(server.database_url, f"UPDATE core_apikey SET {change}", *value, name)


def token(subscribe: Iterable[str] = (), publish: Iterable[str] = (), **claims: Any) -> str:
    """An access token of `shop`, for these addresses; `claims` replace others."""
    return signed(access_claims(subscribe=list(subscribe), publish=list(publish), **claims))


def bad_tokens() -> dict[str, str]:
    """Access tokens that are refused, by what is wrong with them."""
    hour_ago = int(time.time()) - 3600
    return {
        "expired": token(["*"], ["*"], exp=hour_ago),
        "unknown issuer": token(["*"], ["*"], iss="nobody"),
        "other secret": signed(access_claims(subscribe=["*"], publish=["*"]), "o" * 64),
        "not a JWT": "abc",
    }
