"""The rows of the core: rules, rate limits, issuers, API keys, hooks and webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rest_framework.exceptions import ValidationError

from routing_app.core.access.key_changes import forget, revoke
from routing_app.core.exports.section import Fields, Section, Wanted, check_items
from routing_app.core.hooks.notice import tell_hooks_changed
from routing_app.core.issuers.service import FIELD_OF, tell_issuers_changed
from routing_app.core.models import AddressRule, ApiKey, Hook, Issuer, RateLimit, Webhook
from routing_app.core.models.issuers import SigningKey
from routing_app.core.rate_limits.notice import tell_limits_changed
from routing_app.core.rest.hooks import HookSerializer
from routing_app.core.rest.issuers import IssuerKeySerializer, IssuerSerializer
from routing_app.core.rest.keys import KeySerializer
from routing_app.core.rest.limits import LimitSerializer
from routing_app.core.rest.rules import RuleSerializer
from routing_app.core.rest.webhooks import WebhookSerializer
from routing_app.core.streams.notice import tell_rules_changed
from routing_app.core.webhooks import service as webhooks
from routing_app.core.webhooks.notice import tell_webhooks_changed

HASH: Final = re.compile(r"[0-9a-f]{64}")
KEY_FIELDS: Final = ("kid", "algorithm", "active", *FIELD_OF.values())
"""Of a key that signatures are checked with. The file never holds `secret`, but may be given it."""


class Rules(Section[AddressRule]):
    """Rules of addresses."""

    name = "rules"
    model = AddressRule
    serializer_class = RuleSerializer
    identity = ("pattern",)

    def told(self) -> None:
        """Tell."""
        tell_rules_changed()


class Limits(Section[RateLimit]):
    """Rate limits."""

    name = "limits"
    model = RateLimit
    serializer_class = LimitSerializer
    identity = ("protocol", "command", "per")

    def told(self) -> None:
        """Tell."""
        tell_limits_changed()


class Hooks(Section[Hook]):
    """Backends that decide. A new one has a new secret."""

    name = "hooks"
    model = Hook
    serializer_class = HookSerializer
    identity = ("protocol", "on", "pattern")

    def told(self) -> None:
        """Tell."""
        tell_hooks_changed()

    def make(self, fields: Fields) -> Hook | None:
        """A hook, whose backend does not know its secret yet."""
        row = super().make(fields)
        if row is not None:
            self.secrets.append(f"{self.label(fields)}: {row.secret}")
        return row


def shown_key(key: SigningKey) -> Fields:
    """A key of a signer without its secret."""
    shown = IssuerKeySerializer().to_representation(key)  # type: ignore[arg-type]  # or of another signer
    return {name: shown[name] for name in KEY_FIELDS if name in shown}


def oldest_first(keys: Iterable[SigningKey]) -> list[Any]:
    """Keys of a signer as they were given."""
    return sorted(keys, key=lambda key: (key.created_at, key.pk))


def has_material(key: Mapping[str, Any]) -> bool:
    """True for a key of the file that can be made of it."""
    return any(name in key for name in FIELD_OF.values())


class Issuers(Section[Issuer]):
    """Those who sign access tokens. The keys of one are replaced as a whole; shared secrets stay."""

    name = "issuers"
    model = Issuer
    serializer_class = IssuerSerializer
    identity = ("name",)

    def rows(self) -> Iterable[Issuer]:
        """With their keys."""
        return Issuer.objects.prefetch_related("keys")

    def shown(self, row: Issuer) -> Fields:
        """The keys without what is secret."""
        plain = {name: value for name, value in IssuerSerializer(row).data.items() if name != "keys"}
        kept = {name: plain[name] for name in plain if name in self.field_names()}
        return {**kept, "keys": [shown_key(key) for key in oldest_first(row.keys.all())]}

    def state(self, row: Issuer) -> Any:
        """With what is secret."""
        keys = oldest_first(row.keys.all())
        return self.shown(row), [key.material for key in keys]

    def make(self, fields: Fields) -> Issuer | None:
        """An issuer without the keys whose secrets are not in the file."""
        return super().make(self._possible(fields, []))

    def change(self, row: Issuer, fields: Fields) -> None:
        """Keys that are named without a secret stay as they are."""
        stored = [shown_key(key) for key in oldest_first(row.keys.all())]
        if fields.get("keys") == stored:
            fields = {name: value for name, value in fields.items() if name != "keys"}
        super().change(row, self._possible(fields, stored))

    def told(self) -> None:
        """Tell."""
        tell_issuers_changed()

    def _possible(self, fields: Fields, stored: Sequence[Fields]) -> Fields:
        if "keys" not in fields:
            return fields
        keys = check_items(fields["keys"], KEY_FIELDS, "keys")
        known = {(key["algorithm"], key["kid"]) for key in stored}
        possible = [
            key for key in keys if has_material(key) or (key.get("algorithm"), key.get("kid", "")) in known
        ]
        self.missing += [
            f"{self.label(fields)}: the secret of key {key.get('algorithm')} {key.get('kid', '')!r}"
            for key in keys
            if key not in possible
        ]
        return {**fields, "keys": possible}


class Keys(Section[ApiKey]):
    """API keys by name and prefix. Revoked ones stay so, and are not written."""

    name = "keys"
    model = ApiKey
    serializer_class = KeySerializer
    identity = ("name", "prefix")
    more_fields = ("prefix", "hash")

    def is_exported(self, row: ApiKey) -> bool:
        """One that was not revoked."""
        return row.revoked_at is None

    def shown(self, row: ApiKey) -> Fields:
        """With the first characters, by which it is known again."""
        shown = super().shown(row)
        return {"name": shown.pop("name"), "prefix": row.prefix, **shown}

    def with_hashes(self, row: ApiKey, shown: Fields) -> Fields:
        """With the hash that a key is checked by: keys are random, so none is found from it."""
        return {**shown, "hash": row.digest}

    def make(self, fields: Fields) -> ApiKey | None:
        """A key whose hash is in the file."""
        own = {name: value for name, value in fields.items() if name not in self.more_fields}
        serializer = KeySerializer(data=own)
        serializer.is_valid(raise_exception=True)
        if "hash" not in fields:
            self.missing.append(f"{self.label(fields)}: its hash; make another with `createapikey`")
            return None
        row = ApiKey(
            prefix=fields.get("prefix", ""), digest=_checked(fields["hash"]), **serializer.validated_data
        )
        row.full_clean()
        row.save()
        return row

    def change(self, row: ApiKey, fields: Fields) -> None:
        """Change the rights of a key that was not revoked."""
        if "hash" in fields and _checked(fields["hash"]) != row.digest:
            raise ValidationError({"hash": ["it is not that of the key with this name and prefix"]})
        if row.revoked_at is not None:
            self.missing.append(f"{self.label(fields)}: it is revoked, and stays so")
            return
        super().change(row, {name: value for name, value in fields.items() if name not in self.more_fields})

    def delete(self, row: ApiKey) -> None:
        """Revoke it."""
        revoke([row])

    def told(self) -> None:
        """Tell."""
        forget()


def _checked(digest: Any) -> str:
    if not isinstance(digest, str) or not HASH.fullmatch(digest):
        raise ValidationError({"hash": ["expected 64 hex digits"]})
    return digest


class Webhooks(Section[Webhook]):
    """URLs that are told of events. A new one has a new secret; headers are written without their values."""

    name = "webhooks"
    model = Webhook
    serializer_class = WebhookSerializer
    identity = ("name",)

    def __init__(self) -> None:
        super().__init__()
        self._refusals: dict[Any, str] = {}

    def shown(self, row: Webhook) -> Fields:
        """The names of headers: a value may be a secret."""
        shown = super().shown(row)
        return {**shown, "headers": dict.fromkeys(sorted(row.headers))}

    def state(self, row: Webhook) -> Any:
        """With the values of headers."""
        return self.shown(row), row.headers

    def look_up(self, wanted: Sequence[Wanted]) -> None:
        """Look up the names of URLs that are new."""
        known = set(Webhook.objects.values_list("url", flat=True))
        for url in {
            row.fields.get("url") for row in wanted if isinstance(row.fields.get("url"), str)
        } - known:
            self._refusals[url] = webhooks.refusal_of(url)

    def context(self, fields: Fields) -> dict[str, Any]:
        """What was found of the URL."""
        url = fields.get("url")
        return {"refusal": self._refusals.get(url, "") if isinstance(url, str) else ""}

    def make(self, fields: Fields) -> Webhook | None:
        """A webhook, whose receiver does not know its secret yet."""
        row = super().make(self._with_values(fields, {}))
        if row is not None:
            self.secrets.append(f"{self.label(fields)}: {row.secret}")
        return row

    def change(self, row: Webhook, fields: Fields) -> None:
        """Headers without a value keep theirs."""
        super().change(row, self._with_values(fields, row.headers))

    def told(self) -> None:
        """Tell."""
        tell_webhooks_changed()

    def _with_values(self, fields: Fields, stored: Mapping[str, str]) -> Fields:
        headers = fields.get("headers")
        if not isinstance(headers, dict):
            return fields
        lacking = [name for name, value in headers.items() if value is None and name not in stored]
        self.missing += [f"{self.label(fields)}: the value of the header {name}" for name in lacking]
        known = {name: stored.get(name) if value is None else value for name, value in headers.items()}
        return {**fields, "headers": {name: known[name] for name in known if name not in lacking}}


CORE: Final[Sequence[type[Section[Any]]]] = (Rules, Limits, Issuers, Keys, Hooks, Webhooks)
"""In the order of the file."""
