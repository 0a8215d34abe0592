"""Rows that another program writes, and workers that start later."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.conftest import ServerFactory
from tests.revocations.clients import REVOKED, Refused, Tokens
from tests.sessions.conftest import Broker

INSERT = (
    "INSERT INTO core_revocation (subject, jti, token, key, network, reason) VALUES ('', '', %s, '', '', '')"
)


async def test_a_row_of_another_program_counts_here_and_for_a_worker_that_starts_later(
    server: ServerFactory, stack: AsyncExitStack
):
    first = server()
    client = Tokens(first, stack)
    opened = await client.open()
    Broker(first).sql(INSERT, client.token)
    assert await client.ended(opened) == REVOKED

    client.server = server(DATABASE_URL=first.database_url)
    with pytest.raises(Refused, match="403"):
        await client.open()
