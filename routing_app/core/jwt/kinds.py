"""Kinds of tokens, and the one way to check any of them.

A kind says which claim names the signer, which other claims count, and what a good token stands for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from asgiref.sync import sync_to_async

from routing_app.core.jwt.claims import Finding, string_problem
from routing_app.core.jwt.signature import check_signature
from routing_app.core.jwt.signers import KnownSigners, Signer
from routing_app.core.jwt.token import TokenRefused, Unverified, read

S = TypeVar("S", bound=Signer)
T = TypeVar("T")


class TokenKind(ABC, Generic[S, T]):
    """A kind of token, with those who sign it."""

    label: ClassVar[str]
    """For people."""
    signer_option: ClassVar[str]
    """The option of `gentoken` that names the signer."""
    signer_claim: ClassVar[str]
    subject_option: ClassVar[str]
    """The option of `gentoken` that names the client."""
    unknown: ClassVar[str]
    """The words for a signer that there is not; its name follows."""

    def __init__(self, signers: KnownSigners[S]) -> None:
        self.signers = signers

    @abstractmethod
    def findings(self, claims: dict[str, Any], signer: S) -> Iterator[Finding]:
        """Every claim that counts and what is wrong with it, "" for nothing; the signature is good."""

    @abstractmethod
    def content(self, claims: dict[str, Any], signer: S) -> T:
        """The meaning of a token that is good."""

    @abstractmethod
    def add_arguments(self, parser: ArgumentParser) -> None:
        """The kind's own options of `manage.py gentoken`."""

    @abstractmethod
    def sign(self, signer: str, seconds: int, options: dict[str, Any]) -> str:
        """A token, as the signer's own login would sign it. Uses the ORM. Raises CannotSign."""

    def signer_name(self, claims: dict[str, Any]) -> Any:
        """The signer that a token names, as it does; anything but a string is refused."""
        return claims.get(self.signer_claim)

    def names_signer(self, claims: dict[str, Any]) -> bool:
        """True when a token is of this kind."""
        return self.signer_claim in claims

    async def verify(self, token: str) -> T:
        """The meaning of a token. Raises TokenRefused, KeysUnavailable and what the database raises."""
        unverified = read(token)
        name = self._signer_name(unverified)
        signer = await self.signers.find(name)
        if signer is None:
            raise self._unknown(name)
        await check_signature(token, unverified, signer.keys)
        for claim, problem in self.findings(unverified.claims, signer):
            if problem:
                raise TokenRefused(claim, problem)
        return self.content(unverified.claims, signer)

    async def examine(self, token: str) -> AsyncIterator[Finding]:
        """Every part of a token and what is wrong with it, by the rows as they are now; for an operator.

        It ends at a part without which the others cannot be looked at. Raises KeysUnavailable.
        """
        try:
            unverified = read(token)
            name = self._signer_name(unverified)
            signer = await sync_to_async(self.signers.load)(name)
            if signer is None:
                raise self._unknown(name)
            yield self.signer_claim, ""
            await check_signature(token, unverified, signer.keys)
            yield "signature, alg, kid", ""
        except TokenRefused as refused:
            yield refused.claim, refused.why
            return
        for finding in self.findings(unverified.claims, signer):
            yield finding

    def _signer_name(self, unverified: Unverified) -> str:
        name = self.signer_name(unverified.claims)
        if problem := string_problem(name):
            raise TokenRefused(self.signer_claim, problem)
        return str(name)

    def _unknown(self, name: str) -> TokenRefused:
        return TokenRefused(self.signer_claim, f"{self.unknown} {name!r}")
