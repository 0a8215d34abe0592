"""Rows of those who sign access tokens, and keys that their signatures are checked with."""

from __future__ import annotations

from typing import ClassVar, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now

from routing_app.core.jwt.algorithms import ALGORITHMS, KeyKind, check_material
from routing_app.core.strings import is_clean

MAX_NAME: Final = 255
"""Characters of an issuer's name, a `kid` and an audience."""


def check_clean(string: str) -> None:
    """Refuse what no token and no body may hold either. Raises ValidationError."""
    if not is_clean(string):
        raise ValidationError("No control characters.")


def check_audiences(audiences: object) -> None:
    """Raise ValidationError for anything but a list of strings of 1 to 255 characters."""
    if not isinstance(audiences, list):
        raise ValidationError("expected a list of strings")
    for audience in audiences:
        if not isinstance(audience, str) or not 0 < len(audience) <= MAX_NAME or not is_clean(audience):
            raise ValidationError(f"an audience is a string of 1 to {MAX_NAME} characters")


class SigningKey(models.Model):
    """A key that signatures are checked with; several may be valid at once, for rotation."""

    kind = models.CharField(max_length=8, choices=[(kind.value, kind.label) for kind in KeyKind])
    algorithm = models.CharField(
        max_length=8,
        choices=[(name, name) for name in ALGORITHMS],
        help_text="The only algorithm that tokens of this key may use.",
    )
    kid = models.CharField(
        max_length=MAX_NAME, blank=True, help_text="The `kid` of its tokens. A JWKS has its own."
    )
    material = models.TextField(help_text="The shared secret, the public key in PEM form, or the JWKS URL.")
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True
        verbose_name = "key"
        ordering: ClassVar = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.algorithm} {self.kid or '(no kid)'}"

    def clean(self) -> None:
        """Refuse material that cannot work, or that its algorithm does not fit. Raises ValidationError."""
        try:
            check_material(KeyKind(self.kind), self.algorithm, self.material)
        except ValueError as error:
            raise ValidationError({"material": str(error)}) from None


class Issuer(models.Model):
    """A signer of access tokens: `name` is the `iss` in them."""

    name = models.CharField(
        max_length=MAX_NAME, unique=True, validators=[check_clean], help_text="The `iss` of its tokens."
    )
    audiences = models.JSONField(
        default=list,
        blank=True,
        validators=[check_audiences],
        help_text="Accepted `aud` of its tokens. Empty: tokens have none.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: none of its tokens is accepted.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class IssuerKey(SigningKey):
    """A key of an issuer."""

    issuer = models.ForeignKey(Issuer, models.CASCADE, related_name="keys")
