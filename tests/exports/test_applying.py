"""A file applied: what is made, changed, left, pruned, refused, and that it is all or nothing."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest
import yaml
from django.contrib.auth import get_user_model
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from routing_app.core.access import keys
from routing_app.core.access.key_changes import revoke
from routing_app.core.access.masking import mask
from routing_app.core.audit.actor import Actor
from routing_app.core.exports.applying import ImportProblem, Summary, apply, export, sections
from routing_app.core.exports.document import load
from routing_app.core.models import AddressRule, ApiKey, AuditEntry, Hook, Issuer, RateLimit, Webhook
from routing_app.core.models.audit import ActorKind
from routing_app.events.models import Channel
from routing_app.rooms.models import Room
from routing_app.tokens.models import RegisteredToken, Source
from sessions_app.models import Publisher

ACTOR: Final = Actor(ActorKind.COMMAND, "tester")
SECRET: Final = "a secret of at least 32 characters"
HASH: Final = "0123456789abcdef" * 4
FULL: Final[dict[str, Any]] = {
    "rules": [{"pattern": "room:bus/*", "history_size": 10}],
    "limits": [
        {"command": "publish", "per": "identity", "rate": 10, "burst": 50, "then": "refuse"},
        {"command": "publish", "per": "identity", "rate": 1, "burst": 500, "then": "refuse"},
    ],
    "issuers": [
        {
            "name": "shop",
            "audiences": ["a"],
            "keys": [
                {"algorithm": "HS256", "kid": "one", "secret": SECRET},
                {"algorithm": "RS256", "jwks_url": "https://login.example/jwks.json"},
            ],
        }
    ],
    "keys": [{"name": "backend", "prefix": "sb_12345", "scopes": ["read", "publish"], "hash": HASH}],
    "hooks": [{"on": "publish", "pattern": "room:bus/*", "url": "http://backend:8080/hooks"}],
    "webhooks": [
        {
            "name": "backend",
            "url": "https://127.0.0.1/hook",
            "events": ["session.created"],
            "headers": {"X-Secret": "hush"},
        }
    ],
    "tokens": [{"token": "group/one", "note": "a screen"}, {"token": "two", "enabled": False}],
    "publishers": [
        {
            "name": "demo",
            "audiences": ["web"],
            "keys": [{"algorithm": "HS256", "kid": "k", "secret": SECRET}],
            "limits": [{"scope": "offer", "maximum": 2}, {"scope": "account", "maximum": 5}],
        }
    ],
    "rooms": [{"namespace": "bus", "name": "one", "member_limit": 5, "allowed": ["ann"]}],
    "channels": [{"channel_id": "news", "who_may_send": "members", "members": ["ann"]}],
}
ROWS: Final = sum(map(len, FULL.values()))
MODELS: Final = (
    AddressRule,
    RateLimit,
    Issuer,
    ApiKey,
    Hook,
    Webhook,
    RegisteredToken,
    Publisher,
    Room,
    Channel,
)


@pytest.fixture(autouse=True)
def private(settings: Any) -> None:
    """Webhooks may call this machine: no name is looked up."""
    settings.WEBHOOKS_PRIVATE = True


@pytest.fixture
def ann(db: None) -> Any:
    """A user, who may be a member of channels."""
    return get_user_model().objects.create(username="ann")


class Plain(yaml.SafeDumper):
    """Writes a value wherever it is."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def imported(rows: dict[str, Any], **options: Any) -> Summary:
    """Apply rows as a file would have them."""
    text = yaml.dump({"switchboard": 1, **rows}, Dumper=Plain, sort_keys=False)
    return apply(load(text, sections()), ACTOR, **options)


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """FULL with one value replaced."""
    rows = copy.deepcopy(FULL)
    place: Any = rows
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return rows


def test_a_file_makes_all_its_rows_once(ann: Any) -> None:
    first, again = imported(FULL), imported(FULL)

    assert str(first) == f"{ROWS} created, 0 changed, 0 deleted, 0 unchanged"
    assert first.missing == []
    assert str(again) == f"0 created, 0 changed, 0 deleted, {ROWS} unchanged"
    assert [str(one.objects.count()) for one in MODELS] == list("1211112111")
    assert Channel.objects.get().members.get().user == ann
    assert RegisteredToken.objects.get(token="two").disabled_by == Source.ADMIN
    assert Publisher.objects.get().limits.count() == 2


def test_what_is_exported_is_unchanged_when_it_is_imported(ann: Any) -> None:
    imported(FULL)
    text = export(with_hashes=True)

    assert str(apply(load(text, sections()), ACTOR, prune=True)).endswith(f"0 deleted, {ROWS} unchanged")
    assert export(with_hashes=True) == text


def test_no_secret_is_exported(ann: Any) -> None:
    imported(FULL)
    secrets = [SECRET, "hush", Hook.objects.get().secret, Webhook.objects.get().secret]

    assert all(secret not in export(with_hashes=True) for secret in secrets)
    assert HASH not in export()
    assert HASH in export(with_hashes=True)
    assert "X-Secret: null" in export()


def test_lists_can_be_left_out(ann: Any) -> None:
    imported(FULL)

    assert "group/one" in export()
    assert "tokens" not in yaml.safe_load(export(without=["tokens"]))


def test_secrets_of_new_hooks_and_webhooks_are_told_once(ann: Any) -> None:
    first = imported(FULL)

    assert [one.partition(" whsec_")[0] for one in first.secrets] == [
        "hooks: * publish room:bus/*:",
        "webhooks: backend:",
    ]
    assert first.secrets[0].endswith(Hook.objects.get().secret)
    assert imported(FULL).secrets == []


def test_a_field_is_changed_and_the_others_stay(ann: Any) -> None:
    imported(FULL)
    secret = Webhook.objects.get().secret

    summary = imported(
        {
            "rules": [{"pattern": "room:bus/*", "notices": True}],
            "webhooks": [{"name": "backend", "enabled": False, "headers": {"X-Secret": None, "X-New": "1"}}],
            "issuers": [{"name": "shop", "enabled": False, "keys": [{"algorithm": "HS256", "kid": "one"}]}],
            "publishers": [{"name": "demo", "limits": [{"scope": "offer", "maximum": 3}]}],
            "keys": [{"name": "backend", "prefix": "sb_12345", "scopes": ["read"]}],
            "tokens": [{"token": "two", "enabled": True}],
        }
    )

    assert [str(change) for change in summary.changes] == [
        "changed rules: room:bus/* (notices)",
        "changed issuers: shop (enabled, keys)",
        "changed keys: backend sb_12345 (scopes)",
        "changed webhooks: backend (headers, enabled)",
        f"changed tokens: {mask('two')} (enabled)",
        "changed publishers: demo (limits)",
    ]
    rule, webhook = AddressRule.objects.get(), Webhook.objects.get()
    assert (rule.history_size, rule.notices) == (10, True)
    assert (webhook.secret, webhook.headers) == (secret, {"X-Secret": "hush", "X-New": "1"})
    assert webhook.events == ["session.created"]
    assert [key.material for key in Issuer.objects.get().keys.all()] == [SECRET]
    assert Publisher.objects.get().limits.get().maximum == 3
    assert Publisher.objects.get().keys.get().material == SECRET
    assert ApiKey.objects.get().digest == HASH


def test_a_secret_that_the_file_brings_is_a_change_and_is_not_shown(ann: Any) -> None:
    imported(FULL)
    other = "another secret of 32 characters or so"

    summary = imported(changed(("issuers", 0, "keys", 0, "secret"), other))

    assert [str(change) for change in summary.changes] == ["changed issuers: shop (keys)"]
    assert other not in str(summary)
    assert other in [key.material for key in Issuer.objects.get().keys.all()]


def test_of_rows_that_are_known_alike_the_equal_one_is_kept_and_another_changed(db: None) -> None:
    imported({"limits": FULL["limits"]})
    slow, fast = FULL["limits"][1], {**FULL["limits"][0], "burst": 60}

    summary = imported({"limits": [fast, slow]})

    assert [str(change) for change in summary.changes] == ["changed limits: * publish identity (burst)"]
    assert sorted(RateLimit.objects.values_list("rate", "burst")) == [(1.0, 500), (10.0, 60)]


def test_what_the_file_does_not_hold_is_left_out_and_told(db: None) -> None:
    rows = copy.deepcopy(FULL)
    del rows["issuers"][0]["keys"][0]["secret"]
    del rows["publishers"][0]["keys"][0]["secret"]
    del rows["keys"][0]["hash"]
    rows["webhooks"][0]["headers"] = {"X-Secret": None}

    summary = imported(rows)

    assert summary.missing == [
        "issuers: shop: the secret of key HS256 'one'",
        "keys: backend sb_12345: its hash; make another with `createapikey`",
        "webhooks: backend: the value of the header X-Secret",
        "publishers: demo: the secret of key HS256 'k'",
        "channels: news: the user ann",
    ]
    assert Issuer.objects.get().keys.get().algorithm == "RS256"
    assert Webhook.objects.get().headers == {}
    assert not ApiKey.objects.exists()


# --- pruning ----------------------------------------------------------------------------------------------


def test_what_the_file_does_not_name_stays_unless_it_is_pruned(ann: Any) -> None:
    imported(FULL)
    Room.objects.create(namespace="bus", name="came by itself")
    nothing: dict[str, Any] = {name: [] for name in FULL if name != "rules"}

    assert str(imported(nothing)) == "0 created, 0 changed, 0 deleted, 0 unchanged"
    assert str(imported(nothing, prune=True)) == f"0 created, 0 changed, {ROWS - 1} deleted, 0 unchanged"
    assert AddressRule.objects.exists()  # its list is not in the file
    assert [room.name for room in Room.objects.all()] == ["came by itself"]
    assert ApiKey.objects.get().revoked_at is not None
    assert not RegisteredToken.objects.exists()


def test_a_revoked_key_stays_revoked_and_is_not_exported(db: None) -> None:
    row, _ = keys.issue("shop")
    text = export(with_hashes=True)
    revoke([row])

    summary = apply(load(text, sections()), ACTOR, prune=True)

    assert summary.changes == []
    assert ApiKey.objects.get().revoked_at is not None
    assert yaml.safe_load(export())["keys"] == []


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("rules", 0, "history_size"), 10_001, "rules[0].history_size: "),
        (("rules", 0, "pattern"), "nothing:*", "rules[0].pattern: "),
        (("rules", 0, "histry_size"), 1, "rules[0].histry_size: unknown; expected history_seconds,"),
        (("rules", 0, "notices"), "yes please", "rules[0].notices: "),
        (("limits", 1, "rate"), "10", "limits[1].rate: "),
        (("limits", 0, "per"), "planet", "limits[0].per: "),
        (("limits", 0, "then"), "close the door", "limits[0].then: "),
        (("issuers", 0, "name"), "", "issuers[0].name: "),
        (("issuers", 0, "keys", 0, "secert"), "x", "issuers[0].keys[0].secert: unknown; expected kid,"),
        (("issuers", 0, "keys", 0, "secret"), "short", "issuers[0].keys[0].secret: "),
        (("issuers", 0, "keys"), {}, "issuers[0].keys: expected a list of rows"),
        (("keys", 0, "scopes"), ["everything"], "keys[0].scopes"),
        (("keys", 0, "hash"), "12", "keys[0].hash: expected 64 hex digits"),
        (("keys", 0, "prefix"), "", "keys[0].prefix: "),
        (("hooks", 0, "url"), "ftp://x", "hooks[0].url: "),
        (("hooks", 0, "on"), "sleep", "hooks[0].on: "),
        (("webhooks", 0, "events"), ["nothing.happened"], "webhooks[0].events"),
        (("webhooks", 0, "headers"), {"Host": "x"}, "webhooks[0].headers"),
        (("tokens", 0, "token"), "a|b", "tokens[0].token: "),
        (
            ("tokens", 1, "token"),
            "group/one",
            "tokens[1].token: registered token with this token already",
        ),
        (("publishers", 0, "name"), "two words", "publishers[0].name: "),
        (("publishers", 0, "limits", 1, "maximum"), -1, "publishers[0].limits[1].maximum: "),
        (("publishers", 0, "limits", 0, "scope"), "account", "publishers[0].limits[1]"),
        (("publishers", 0, "keys", 0, "algorithm"), "none", "publishers[0].keys[0].algorithm: "),
        (("rooms", 0, "namespace"), "cellar", "rooms[0].namespace: "),
        (("rooms", 0, "allowed"), [1], "rooms[0].allowed: "),
        (("channels", 0, "who_may_send"), "someone", "channels[0].who_may_send: "),
        (("channels", 0, "members"), [7], "channels[0].members: expected a list of user names"),
    ],
)
def test_an_error_names_line_and_field_and_changes_nothing(
    ann: Any, path: tuple[Any, ...], value: Any, place: str
) -> None:
    entries = AuditEntry.objects.count()
    with pytest.raises(ImportProblem) as raised:
        imported(changed(path, value))
    (error, *_) = raised.value.errors
    line, _, rest = error.partition(": ")

    assert int(line) > 1
    assert rest.startswith(place)
    assert "\n" not in error
    assert sum(one.objects.count() for one in MODELS) == 0
    assert AuditEntry.objects.count() == entries


def test_all_errors_are_told_at_once(ann: Any) -> None:
    rows = changed(("rules", 0, "history_size"), -1)
    rows["rooms"][0]["namespace"] = "cellar"
    with pytest.raises(ImportProblem) as raised:
        imported(rows)
    assert [error.split(": ")[1] for error in raised.value.errors] == [
        "rules[0].history_size",
        "rooms[0].namespace",
    ]


def test_a_hash_of_another_key_is_refused(db: None) -> None:
    imported({"keys": FULL["keys"]})

    for change in ({"hash": HASH[::-1]}, {"prefix": "sb_other"}):
        with pytest.raises(ImportProblem):
            imported({"keys": [{**FULL["keys"][0], **change}]})
    assert ApiKey.objects.get().digest == HASH


# --- what else it does ------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_same_and_changes_nothing(ann: Any) -> None:
    imported({"rules": FULL["rules"]})
    entries = AuditEntry.objects.count()
    rows = changed(("rules", 0, "history_size"), 20)

    planned = imported(rows, dry_run=True, prune=True)

    assert str(planned) == f"{ROWS - 1} created, 1 changed, 0 deleted, 0 unchanged"
    assert planned.secrets == []
    assert AddressRule.objects.get().history_size == 10
    assert sum(one.objects.count() for one in MODELS) == 1
    assert AuditEntry.objects.count() == entries
    assert imported(rows).changes == planned.changes


def test_each_row_has_an_entry_in_the_audit_log_without_a_token(ann: Any) -> None:
    AuditEntry.objects.all().delete()
    imported(FULL)
    imported({"tokens": [{"token": "two", "enabled": True}]})
    imported({"tokens": []}, prune=True)
    rows = list(AuditEntry.objects.order_by("id").values_list("actor", "action", "target"))

    assert len(rows) == ROWS + 3
    assert {actor for actor, _, _ in rows} == {"tester"}
    assert [action for _, action, _ in rows[ROWS:]] == ["change", "delete", "delete"]
    assert f"core.addressrule {AddressRule.objects.get().pk}" in {target for _, _, target in rows}
    assert "group/one" not in str(rows)


# --- names ------------------------------------------------------------------------------------------------

CLEAN = st.characters(exclude_categories=["Cs", "Cc"])
NAMES = st.text(CLEAN, min_size=1, max_size=20).map(str.strip).filter(bool)

HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)


def distinct(*fields: str) -> Any:
    """For `unique_by`: rows by the fields that they are known by, without regard to case or blanks."""
    return lambda row: tuple(str(row[field]).strip().casefold() for field in fields)


class TestNames(TestCase):
    """Names of any characters come back as they were, on every database."""

    @given(
        rooms=st.lists(
            st.fixed_dictionaries(
                {
                    "namespace": st.sampled_from(["bus", "layout"]),
                    "name": NAMES,
                    "note": NAMES,
                    "allowed": st.lists(NAMES, max_size=2),
                }
            ),
            max_size=3,
            unique_by=distinct("namespace", "name"),
        ),
        issuers=st.lists(
            st.fixed_dictionaries({"name": NAMES, "audiences": st.lists(NAMES, max_size=2)}),
            max_size=3,
            unique_by=distinct("name"),
        ),
        rules=st.lists(
            st.fixed_dictionaries({"pattern": NAMES.map(lambda name: f"token:{name}"), "note": NAMES}),
            max_size=3,
            unique_by=distinct("pattern"),
        ),
        keys=st.lists(
            st.fixed_dictionaries(
                {
                    "name": NAMES,
                    "scopes": st.just(["read"]),
                    "hash": st.text("0123456789abcdef", min_size=64, max_size=64),
                }
            ).map(lambda row: {**row, "prefix": row["hash"][:8]}),
            max_size=3,
            unique_by=distinct("hash"),
        ),
    )
    @settings(max_examples=12)
    def test_an_export_of_an_import_of_an_export_is_the_same(self, **rows: Any) -> None:
        try:
            with transaction.atomic():
                imported(rows)
        except ImportProblem:  # a name that REST refuses, too
            return
        text = export(with_hashes=True)
        with transaction.atomic():
            for model in (Room, Issuer, AddressRule, ApiKey):
                model.objects.all().delete()
            assert export() != text or not any(rows.values())
            imported_again = apply(load(text, sections()), ACTOR)

        assert len(imported_again.changes) == sum(map(len, rows.values()))
        assert export(with_hashes=True) == text
