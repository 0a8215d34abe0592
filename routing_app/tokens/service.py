"""The rules of the tokens protocol: registering, revoking, listing and broadcasting.

Everything here uses the ORM or publishes, for views, the admin and commands; all but `broadcast` is called
from synchronous code. Questions of sockets are in `access.py`, imports in `imports.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Concat, Now

from routing_app.core.access.grants import UNBOUNDED, Grant
from routing_app.core.access.masking import mask, shown_identity
from routing_app.core.access.narrowing import covered, reached_by
from routing_app.core.access.patterns import Patterns
from routing_app.core.address import Address
from routing_app.core.codes import KICKED, TOKEN_UNREGISTERED, Close
from routing_app.core.database import insert_rows
from routing_app.core.hooks import publishing
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.hooks.table import HookSet
from routing_app.core.models import ConnectionRecord
from routing_app.core.publishing import Outcome, disconnect_all_sync, publish
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.report import Event, report
from routing_app.core.worker import current_worker
from routing_app.tokens import wire
from routing_app.tokens.models import RegisteredToken, Source

T = TypeVar("T")

CHUNK: Final = 500
"""Rows in one statement."""

Rows = QuerySet[RegisteredToken]


class AlreadyRegistered(Exception):
    """The token has a row already."""


class TokenChange(StrEnum):
    """The effect of registering a token."""

    ADDED = "added"
    ENABLED = "enabled"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Skipped:
    """One entry of a list or table that was not taken; `entry` counts from 1, the token is masked."""

    entry: int
    token: str
    reason: str

    def __str__(self) -> str:
        return f"entry {self.entry}, {self.token or 'empty'}: {self.reason}"


@dataclass(slots=True)
class Registered:
    """The outcome of registering many tokens."""

    added: int = 0
    enabled: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)


# --- registering -----------------------------------------------------------------------------------------


def add(text: str, by: Source, enabled: bool = True, note: str = "") -> RegisteredToken:
    """A row for a new token. Raises TokenWireError and AlreadyRegistered."""
    token = wire.check_registrable(text)
    disabled_by = "" if enabled else by
    try:
        with transaction.atomic():
            row = RegisteredToken.objects.create(
                token=token, enabled=enabled, disabled_by=disabled_by, note=note, source=by
            )
            if enabled:
                tell(EventType.TOKEN_REGISTERED, [token])
            return row
    except IntegrityError:
        raise AlreadyRegistered from None


def register(text: str, by: Source) -> TokenChange:
    """Make sure that a token is registered and enabled. Raises TokenWireError."""
    token = wire.check_registrable(text)
    with transaction.atomic():
        _, created = RegisteredToken.objects.get_or_create(token=token, defaults={"source": by})
        if created:
            tell(EventType.TOKEN_REGISTERED, [token])
            return TokenChange.ADDED
        return (
            TokenChange.ENABLED
            if enable(RegisteredToken.objects.filter(token=token))
            else TokenChange.NOTHING
        )


def register_many(entries: Iterable[str], by: Source, note: str = "") -> Registered:
    """Make sure that tokens are registered and enabled; those that break a rule are skipped and told."""
    outcome = Registered()
    tokens: dict[str, None] = {}
    for number, entry in enumerate(entries, 1):
        try:
            tokens[wire.check_registrable(entry)] = None
        except wire.TokenWireError as error:
            outcome.skipped.append(Skipped(number, mask(entry.strip()), str(error)))
    with transaction.atomic():
        for chunk in chunks(sorted(tokens)):
            known = RegisteredToken.objects.filter(token__in=chunk)
            there = set(known.values_list("token", flat=True))
            enabled = enable(known)
            absent = [token for token in chunk if token not in there]
            insert([RegisteredToken(token=token, source=by, note=note) for token in absent])
            outcome.added += len(absent)
            outcome.enabled += enabled
            outcome.unchanged += len(there) - enabled
    return outcome


def change(row: RegisteredToken, by: Source, enabled: bool | None, note: str | None) -> RegisteredToken:
    """Enable or disable one token and set its note, where told to; the row as it is afterwards."""
    rows = RegisteredToken.objects.filter(pk=row.pk)
    with transaction.atomic():
        if note is not None and note != row.note:
            rows.update(note=note, changed_at=Now())
        if enabled is True:
            enable(rows)
        if enabled is False:
            disable(rows, by)
    row.refresh_from_db()
    return row


def insert(rows: Sequence[RegisteredToken]) -> None:
    """Add rows within a transaction; a token that another process has added since is left as it is there."""
    values = [(row.token, row.enabled, str(row.disabled_by), row.note, str(row.source)) for row in rows]
    fields = ("token", "enabled", "disabled_by", "note", "source")
    added = {token for (token,) in insert_rows(RegisteredToken, fields, values, returning=["token"])}
    tell(EventType.TOKEN_REGISTERED, [row.token for row in rows if row.enabled and row.token in added])


def enable(rows: Rows) -> int:
    """Enable tokens; how many were disabled."""
    with transaction.atomic():
        locked = rows.filter(enabled=False).select_for_update().order_by("token")
        disabled = list(locked.values_list("token", flat=True))
        rows.filter(enabled=False).update(enabled=True, disabled_by="", changed_at=Now())
        tell(EventType.TOKEN_REGISTERED, disabled)
    return len(disabled)


def tell(type: EventType, tokens: Iterable[str]) -> None:
    """Report a change of tokens, within its transaction."""
    report(*(Event(type, {"token": mask(token)}) for token in tokens))


# --- revoking --------------------------------------------------------------------------------------------


def unregister(text: str, by: Source) -> bool:
    """Disable one token and keep its row (decision 22); False when it is unknown or disabled already.

    Raises TokenWireError.
    """
    return bool(disable(RegisteredToken.objects.filter(token=wire.check_token(text)), by))


def disable(rows: Rows, by: Source) -> int:
    """Disable tokens and revoke them (decision 23); how many were enabled.

    One that the imported table has disabled is from now on disabled by `by`, so that no import revives it.
    """
    with transaction.atomic():
        locked = rows.select_for_update().order_by("token").values_list("token", "enabled")
        revoked = [token for token, enabled in locked if enabled]
        rows.filter(Q(enabled=True) | Q(disabled_by=Source.IMPORT)).update(
            enabled=False, disabled_by=by, changed_at=Now()
        )
        tell(EventType.TOKEN_UNREGISTERED, revoked)
        close_after_commit(revoked)
    return len(revoked)


def remove(rows: Rows) -> int:
    """Delete tokens and revoke them; how many there were. A later import may add them again."""
    with transaction.atomic():
        locked = rows.select_for_update().order_by("token")
        found = dict(locked.values_list("token", "enabled"))
        rows.delete()
        tell(EventType.TOKEN_UNREGISTERED, [token for token, enabled in found.items() if enabled])
        close_after_commit(list(found))
    return len(found)


def disconnect(rows: Rows) -> int:
    """End the connections of tokens, in every process; how many tokens there were."""
    tokens = list(rows.values_list("token", flat=True))
    _close(tokens, KICKED)
    return len(tokens)


def close_after_commit(tokens: Sequence[str]) -> None:
    """After the commit, end the connections of revoked tokens, where only registered ones may connect."""
    if tokens and not settings.TOKENS_ALLOW_UNREGISTERED:
        transaction.on_commit(partial(_close, tokens, TOKEN_UNREGISTERED))


def _close(tokens: Sequence[str], close: Close) -> None:
    disconnect_all_sync(map(wire.own_address, tokens), close)


# --- listing and broadcasting ----------------------------------------------------------------------------


def covered_by(addresses: Patterns) -> Q:
    """The condition that a token's address is one of a caller's."""
    return covered(addresses, Concat(Value("token:"), F("token")))


def registered(grant: Grant) -> dict[str, bool]:
    """The tokens of a caller's addresses in order, and whether they are enabled; masked ones that look alike
    are numbered.
    """
    found: dict[str, bool] = {}
    alike: Counter[str] = Counter()
    rows = RegisteredToken.objects.filter(covered_by(grant.addresses))
    for token, enabled in rows.values_list("token", "enabled"):
        shown = shown_identity(grant.secrets, "tokens", token)
        alike[shown] += 1
        found[shown if alike[shown] == 1 else f"{shown} #{alike[shown]}"] = enabled
    return found


def clients(grant: Grant) -> dict[str, str]:
    """`{"ip:port": token}` of the clients of all workers that a caller's addresses reach, oldest first
    (decisions 20 and 21).

    A connection without a network address of its own (a Unix socket, a proxy) is known by its id, or by the
    address and its id.
    """
    rows = ConnectionRecord.objects.present().filter(reached_by(grant.addresses), protocol="tokens")
    no_token = wire.ORIGINAL_NO_TOKEN if settings.TOKENS_WIRE_COMPAT else wire.NO_TOKEN
    found: dict[str, str] = {}
    for id, peer, token in rows.order_by("connected_at", "id").values_list("id", "peer", "identity"):
        name = f"{peer}#{id}" if peer in found else peer or id
        found[name] = no_token if token == wire.NO_TOKEN else shown_identity(grant.secrets, "tokens", token)
    return found


class ReceiverDenied(Exception):
    """A caller may not publish to a receiver."""


class HookDenied(Exception):
    """The backend refuses a receiver, or does not answer."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


AskAbout = Callable[[Address, str], Question]
"""Makes the question about an address and a payload."""


async def broadcast(text: str, grant: Grant = UNBOUNDED, ask_about: AskAbout | None = None) -> Outcome:
    """Publish `<receivers>|<payload>`; the backend decides where there is an `ask_about`.

    Raises TokenWireError, ReceiverDenied, HookDenied.
    """
    if len(text.encode()) > settings.MAX_FRAME_BYTES:
        raise wire.LimitExceeded(f"a message has at most {settings.MAX_FRAME_BYTES} bytes")
    message = wire.parse_message(text, settings.MAX_RECEIVERS)
    addresses = [wire.address_of(receiver) for receiver in message.receivers]
    if not all(map(grant.may_publish, addresses)):
        raise ReceiverDenied
    if ask_about is None or (hooks := current_worker().hooks.of("tokens").publish) is None:
        return await publish(addresses, message.payload)
    return await _publish_as_decided(hooks, addresses, message.payload, ask_about)


async def _publish_as_decided(
    several: HookSet, addresses: Sequence[Address], payload: str, ask_about: AskAbout
) -> Outcome:
    """Publish where the backend allows every address; to each what it has said. Raises HookDenied."""
    decision = await publishing.decide(
        current_worker().hooks, several, addresses, payload, lambda one: ask_about(one, payload)
    )
    for verdict in decision.refused.values():
        raise HookDenied(verdict)
    whole = Outcome(0)
    for to, message in decision.parts:
        outcome = await publish(to, message)
        here, there = whole.delivered_to, outcome.delivered_to
        whole.delivered_to = None if here is None or there is None else here + there
        whole.positions = {**whole.positions, **outcome.positions}
    return whole


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of CHUNK."""
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
