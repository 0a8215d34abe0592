"""Tables of tokens from elsewhere: `{"abc1": true, "group/item1": false}` from a URL or a file.

An import adds and updates, and never deletes. A failure before a whole table has been read changes
nothing, so the last good table stays (decision 24).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Final
from urllib import request
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from django.db import transaction
from django.db.models.functions import Now

from routing_app.core.access.masking import mask
from routing_app.core.json import NotJSON, loads
from routing_app.core.webhooks.events import EventType
from routing_app.tokens import wire
from routing_app.tokens.models import RegisteredToken, Source
from routing_app.tokens.service import Skipped, chunks, enable, insert, tell

TIMEOUT_SECONDS: Final = 5.0
MAX_BYTES: Final = 64 * 2**20
SCHEMES: Final = ("http", "https", "file")


class TableError(Exception):
    """A table could not be had; the message is a sentence, without the credentials a URL may hold."""


@dataclass(slots=True)
class Imported:
    """The outcome of an import. `kept` counts tokens that stay disabled because an operator disabled them."""

    added: int = 0
    enabled: int = 0
    disabled: int = 0
    unchanged: int = 0
    kept: int = 0
    revoked: list[str] = field(default_factory=list)
    """Tokens that were enabled before; the caller has to close their connections."""
    skipped: list[Skipped] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.added} added, {self.enabled} enabled, {self.disabled} disabled, "
            f"{self.unchanged} unchanged, {self.kept} kept disabled, {len(self.skipped)} skipped"
        )


# --- reading ---------------------------------------------------------------------------------------------


def read(source: str) -> dict[str, Any]:
    """The table at a URL (http, https, file) or in a file. Takes TIMEOUT_SECONDS at most.

    Raises TableError.
    """
    scheme = urlsplit(source).scheme
    if scheme in {"http", "https"}:
        data = _download(source)
    elif scheme == "file":
        data = _read_file(Path(request.url2pathname(urlsplit(source).path)))
    elif "://" in source:
        raise TableError(f"expected a URL of {', '.join(SCHEMES)}, not of {scheme}")
    else:
        data = _read_file(Path(source))
    return _decode(data)


def location(source: str) -> str:
    """A source as a log may show it: without user, password and query."""
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else source


def _download(url: str) -> bytes:
    """GET, in a thread that is left behind when it takes too long: no timeout of sockets covers all of it."""
    answers: Queue[bytes | TableError] = Queue()
    # A daemon: a server that never ends its answer must not hold up the end of the process.
    Thread(target=lambda: answers.put(_get(url)), daemon=True, name="table").start()
    try:
        answer = answers.get(timeout=TIMEOUT_SECONDS)
    except Empty:
        answer = TableError(f"no table within {TIMEOUT_SECONDS:g} seconds")
    if isinstance(answer, TableError):
        raise answer
    return answer


def _get(url: str) -> bytes | TableError:
    """The body of the answer, or the reason why there is none. Redirects lead to http and https only."""
    try:
        with _opener().open(_request(url), timeout=TIMEOUT_SECONDS) as response:
            return _bounded(response)
    except TableError as error:
        return error
    except HTTPError as error:
        return TableError(f"the answer was {error.code} {error.reason}")
    except (OSError, ValueError, HTTPException) as error:
        return TableError(f"no answer: {getattr(error, 'reason', error)}")


def _request(url: str) -> request.Request:
    """A GET; user and password of the URL go where HTTP has them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    get = request.Request(  # noqa: S310 - the opener knows http and https only
        parts._replace(netloc=host, fragment="").geturl(), headers={"Accept": "application/json"}
    )
    if at:
        # Unredirected: the password is for this host.
        get.add_unredirected_header("Authorization", "Basic " + b64encode(unquote(user).encode()).decode())
    return get


def _opener() -> request.OpenerDirector:
    """Knows http, https and the environment's proxies; a redirect to `file:` or `ftp:` is an error."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(file)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}") from None


def _bounded(file: Any) -> bytes:
    data: bytes = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TableError(f"the table is larger than {MAX_BYTES} bytes")
    return data


def _decode(data: bytes) -> dict[str, Any]:
    try:
        table = loads(data)
    except NotJSON:
        raise TableError("the table is not JSON") from None
    if not isinstance(table, dict):
        raise TableError('expected a JSON object such as {"abc1": true}')
    return table


# --- storing ---------------------------------------------------------------------------------------------


def store(table: Mapping[str, Any]) -> Imported:
    """Add what is new and update what is known; several processes may do so at once.

    `false` disables even a token that an operator has enabled. `true` enables one that an import has
    disabled, and not one that an operator has.
    """
    outcome = Imported()
    values = _checked(table, outcome)
    for tokens in chunks(sorted(values)):
        with transaction.atomic():
            _store(tokens, values, outcome)
    return outcome


def _checked(table: Mapping[str, Any], outcome: Imported) -> dict[str, bool]:
    values: dict[str, bool] = {}
    for number, (key, value) in enumerate(table.items(), 1):
        try:
            token = wire.check_registrable(key)
            if not isinstance(value, bool):
                raise wire.TokenWireError("expected true or false")
            values[token] = value
        except wire.TokenWireError as error:
            outcome.skipped.append(Skipped(number, mask(key.strip()), str(error)))
    return values


def _store(tokens: list[str], values: Mapping[str, bool], outcome: Imported) -> None:
    # Locked in order, so that two imports never wait for each other.
    rows = RegisteredToken.objects.select_for_update().filter(token__in=tokens).order_by("token")
    known = {row.token: row for row in rows}
    new = [
        RegisteredToken(
            token=token,
            enabled=values[token],
            disabled_by="" if values[token] else Source.IMPORT,
            source=Source.IMPORT,
        )
        for token in tokens
        if token not in known
    ]
    off = [token for token, row in known.items() if row.enabled and not values[token]]
    wanted = [row for token, row in known.items() if values[token] and not row.enabled]
    on = [row.token for row in wanted if row.disabled_by == Source.IMPORT]

    # Another process may have added a token since the rows were read; its row stays.
    insert(new)
    enable(RegisteredToken.objects.filter(token__in=on))
    RegisteredToken.objects.filter(token__in=off).update(
        enabled=False, disabled_by=Source.IMPORT, changed_at=Now()
    )
    tell(EventType.TOKEN_UNREGISTERED, off)
    outcome.added += len(new)
    outcome.enabled += len(on)
    outcome.disabled += len(off)
    outcome.kept += len(wanted) - len(on)
    outcome.unchanged += len(known) - len(wanted) - len(off)
    outcome.revoked += off
