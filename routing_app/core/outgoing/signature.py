"""Signatures of outgoing calls, by the Standard Webhooks specification 1.0 (symmetric, `v1`).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
"""The specification: between 24 and 64."""


def new_secret() -> str:
    """A secret as receivers are given it: `whsec_` and its bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(keys: Iterable[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one call: its id, the Unix time of this attempt, a signature by each of the secrets."""
    signed = b"%s.%d.%s" % (id.encode(), timestamp, body)
    signatures = (
        base64.b64encode(hmac.digest(base64.b64decode(key.removeprefix(PREFIX)), signed, "sha256")).decode()
        for key in keys
    )
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
