"""Targets: what operators and signers write (tokens, keys, `websockets.conf`, settings, import files)."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from django.core.exceptions import ImproperlyConfigured

from routing_app.broker import stores
from routing_app.broker.environment import Environment
from routing_app.core.access.grants import Grant
from routing_app.core.access.origin import allowed, is_pattern
from routing_app.core.access.patterns import is_pattern as is_address_pattern
from routing_app.core.cluster import redis_urls
from routing_app.core.exports.applying import sections
from routing_app.core.exports.document import DocumentProblem, dump, load
from routing_app.core.issuers.access_tokens import AccessTokens
from routing_app.core.jwt import algorithms, fetch, jwks, token
from routing_app.core.jwt.algorithms import KeyKind
from routing_app.tokens import conf
from switchboard_server.proxy import Proxies
from tests.fuzz.wires import text_of
from tests.jwt.signers import FixedSigners
from tests.jwt.signing import HS, issuer, signed

TOKENS = AccessTokens(FixedSigners(issuer(HS)))
SECTIONS = sections()


def fuzz_jwt(data: bytes) -> None:
    """A token as it comes, claims that are signed, a key set, and keys; the first byte chooses."""
    choice, rest = (data[0] % 4 if data else 0), data[1:]
    text = text_of(rest)
    if choice == 0:
        assert verified(text) is None
    elif choice == 1:
        with suppress(ValueError):
            claims = orjson.loads(rest)
            grant = verified(signed(claims)) if isinstance(claims, dict) else None
            assert grant is None or grant_is_meant(grant, claims)
    elif choice == 2:
        with suppress(fetch.FetchFailed):
            assert jwks.signing_keys(rest)
    else:
        check_keys(text)


def verified(text: str) -> Grant | None:
    """The grant of a token, None for one that is refused. No step of it waits: the keys are at hand."""
    verifying = TOKENS.verify(text)
    try:
        verifying.send(None)
    except StopIteration as done:
        grant: Grant = done.value
        return grant
    except token.TokenRefused:
        return None
    raise AssertionError("it waits")


def grant_is_meant(grant: Grant, claims: dict[str, Any]) -> bool:
    """A grant says what the claims say."""
    assert (grant.issuer, grant.subject) == (claims["iss"], claims["sub"])
    assert 0 < len(grant.subject) <= 255
    assert all(map(is_address_pattern, (*grant.subscribe.texts, *grant.publish.texts)))
    return list(grant.publish.texts) == claims.get("publish", [])


def check_keys(text: str) -> None:
    """Anything as the material of a key: it is good, or there is a sentence that says why not."""
    for kind, algorithm in ((KeyKind.SECRET, "HS256"), (KeyKind.PEM, "ES256"), (KeyKind.JWKS, "RS256")):
        with suppress(ValueError):
            algorithms.check_material(kind, algorithm, text)
    with suppress(fetch.FetchFailed):
        algorithms.check_url(fetch.redirected("https://keys.example/jwks", text))


def fuzz_websockets_conf(data: bytes) -> None:
    """The token broker's file: settings that our own readers take, or one line that says why not."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        file = Path(folder) / "websockets.conf"
        file.write_bytes(data)
        warnings: list[str] = []
        try:
            found = conf.load(file, warnings.append)
        except conf.ConfigError as error:
            assert_one_line(str(error))
            return
    environment = Environment(found)
    environment.integer("PORT", 8080, "", 1, 65535)
    environment.boolean("TOKENS_ALLOW_UNREGISTERED", True, "")
    environment.boolean("HTTPS", False, "")
    environment.words("TOKENS_ORIGINS", "self", "", is_pattern)
    assert all(map(str.isprintable, found.values()))
    assert len(warnings) <= data.count(b":") + data.count(b",") + 2


def fuzz_settings(data: bytes) -> None:
    """A value for each kind of setting: it is read, or refused in one line that names its variable."""
    text = text_of(data).replace("\0", "")
    environment = Environment({"NAME": text})
    readers = (
        lambda: 0 <= environment.integer("NAME", 1, "", 0, 100) <= 100,
        lambda: 0.5 <= environment.seconds("NAME", 1, "", 0.5) < float("inf"),
        lambda: environment.boolean("NAME", True, "") in (True, False),
        lambda: environment.string("NAME", "a", "", ["a", "null"]) in {"a", "null"},
        lambda: all(map(is_pattern, environment.words("NAME", "", "", is_pattern))),
        lambda: stores.database(text, Path("/nowhere"), 4, 5.0)["ENGINE"],
    )
    for reader in readers:
        try:
            assert reader()
        except ImproperlyConfigured as error:
            assert_one_line(str(error))
    with suppress(ValueError):
        Proxies(text.split(",")).client("10.0.0.1", [data])
    allowed(text, "host:80", ["self", "https://*.example", text])


def fuzz_redis_urls(data: bytes) -> None:
    """`REDIS_URL`: a client can be made of what is taken, and no password is shown."""
    text = text_of(data)
    try:
        servers = redis_urls.split(text)
        stores.channel_layer(text)
        stores.cache(text)
    except (ValueError, ImproperlyConfigured) as error:
        assert_one_line(str(error))
        return
    assert redis_urls.split(",".join(servers)) == servers
    for server in servers:
        redis_urls.client_of(server).close()
        shown = redis_urls.without_password(server)
        password = redis_urls.sentinel_of(server).get("password") if redis_urls.is_sentinel(server) else None
        assert not password or len(password) < 8 or password not in shown


def fuzz_import_file(data: bytes) -> None:
    """An import file: rows that are written and read as the same, or a line and a sentence."""
    try:
        found = load(text_of(data), SECTIONS)
    except DocumentProblem as problem:
        assert_one_line(str(problem))
        return
    rows = {name: [row.fields for row in wanted] for name, wanted in found.items()}
    written = dump(rows)
    again = load(written, SECTIONS)
    assert dump({name: [row.fields for row in wanted] for name, wanted in again.items()}) == written
    assert all(
        sorted(map(repr, (row.fields for row in again[name]))) == sorted(map(repr, rows[name]))
        for name in rows
    )


def assert_one_line(text: str) -> None:
    """A message for an operator is one line."""
    assert text
    assert "\n" not in text


SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where small files are cheap."""
