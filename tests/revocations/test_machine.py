"""Any order of issuers, revocations and connections: connected is who the model says, and nobody else."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from channels.testing import WebsocketCommunicator
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from routing_app.core.codes import REVOKED, UNAUTHENTICATED
from routing_app.core.database import query
from routing_app.core.issuers import service as issuers
from routing_app.core.issuers.service import WantedKey
from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.models import Issuer, Revocation
from routing_app.core.revocations import service
from routing_app.core.worker import current_worker, drop_worker
from routing_app.tokens.consumer import TokenConsumer
from tests.core.harness import scaled
from tests.services.waiting import until

SECRET = "s" * 32
NAMES = ("one", "two")
HOSTS = {"192.0.2.1": ("192.0.2.0/24", "192.0.2.1/32"), "2001:db8::1": ("2001:db8::/32",)}
NETWORKS = sorted({network for networks in HOSTS.values() for network in networks})
LATER = 2_000_000_000


@dataclass(eq=False)
class Client:
    """What a client carries, and its socket once it is let in."""

    issuer: str
    subject: str
    jti: str
    issued_at: int
    token: str
    host: str
    socket: WebsocketCommunicator | None = field(default=None, repr=False)

    def carries(self, fields: dict[str, Any]) -> bool:
        """True when a revocation with these fields concerns it."""
        [(kind, value)] = [
            (name, fields[name]) for name in ("subject", "jti", "token", "network") if name in fields
        ]
        if kind == "network":
            return value in HOSTS[self.host]
        older = self.issued_at < fields.get("issued_before", LATER)
        return bool(getattr(self, kind) == value) and older

    def handshake(self) -> WebsocketCommunicator:
        claims = {"iss": self.issuer, "sub": self.subject, "jti": self.jti, "iat": self.issued_at}
        token = jwt.encode({**claims, "exp": int(time.time()) + 900}, SECRET, "HS256")
        path = f"/ws?RegisterToken={self.token}&access_token={token}"
        socket = WebsocketCommunicator(TokenConsumer.as_asgi(protocol="tokens"), path)
        socket.scope["client"] = (self.host, 4000)
        return socket


clients = st.builds(
    Client,
    issuer=st.sampled_from(NAMES),
    subject=st.sampled_from("ab"),
    jti=st.sampled_from("xy"),
    issued_at=st.sampled_from([100, 200]),
    token=st.sampled_from(["t1", "t2"]),
    host=st.sampled_from(sorted(HOSTS)),
)
revoked_names = (
    st.fixed_dictionaries(
        {"subject": st.sampled_from("ab")}, optional={"issued_before": st.sampled_from([150, 250])}
    )
    | st.fixed_dictionaries({"jti": st.sampled_from("xy")})
    | st.fixed_dictionaries({"token": st.sampled_from(["t1", "t2"])})
    | st.fixed_dictionaries({"network": st.sampled_from(NETWORKS)})
)


class Access(RuleBasedStateMachine):
    """A worker in this process, and the clients that may be connected to it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.issuers: dict[str, Issuer] = {}
        self.enabled = dict.fromkeys(NAMES, True)
        self.revoked: list[tuple[Revocation, dict[str, Any]]] = []
        self.connected: list[Client] = []
        self.run(self.begin())

    async def begin(self) -> None:
        self.worker = current_worker()
        await self.worker.start()
        key = WantedKey("HS256", kind=KeyKind.SECRET, material=SECRET)
        for name in NAMES:
            self.issuers[name] = await query(issuers.make, {"name": name}, [key])

    def teardown(self) -> None:
        self.run(self.end())
        self.runner.close()

    async def end(self) -> None:
        for client in self.connected:
            assert client.socket is not None
            await client.socket.disconnect()
        await self.worker.stop()
        drop_worker()
        await query(Issuer.objects.all().delete)
        await query(Revocation.objects.all().delete)

    def is_revoked(self, client: Client) -> bool:
        return any(client.carries(fields) for _, fields in self.revoked)

    @rule(client=clients)
    def connect(self, client: Client) -> None:
        async def connect() -> tuple[bool, Any]:
            client.socket = client.handshake()
            return await client.socket.connect(60)

        accepted, code = self.run(connect())
        if self.enabled[client.issuer] and not self.is_revoked(client):
            assert accepted
            self.connected.append(client)
        else:
            # One that is both gets either answer.
            expected = {REVOKED.code} if self.enabled[client.issuer] else {REVOKED.code, UNAUTHENTICATED.code}
            assert (accepted, code in expected) == (False, True), code

    @rule(fields=revoked_names, told=st.booleans())
    def revoke(self, fields: dict[str, Any], told: bool) -> None:
        made = dict(fields)
        if "issued_before" in made:
            made["issued_before"] = datetime.fromtimestamp(made["issued_before"], UTC)

        async def revoke() -> Revocation:
            if told:
                return await query(service.make, **made)
            row = await query(Revocation.objects.create, **made)
            await self.worker.revocations.read()
            return row

        self.revoked.append((self.run(revoke()), fields))
        self.run(self.have_ended([one for one in self.connected if one.carries(fields)]))

    async def have_ended(self, doomed: list[Client]) -> None:
        for client in doomed:
            assert client.socket is not None
            message = await client.socket.receive_output(60)
            assert (message["type"], message["code"]) == ("websocket.close", REVOKED.code)
            await client.socket.disconnect()
            self.connected.remove(client)

    @rule(number=st.integers(0, 9))
    def lift(self, number: int) -> None:
        if self.revoked:
            row, _ = self.revoked.pop(number % len(self.revoked))
            self.run(query(service.lift, [row]))

    @rule(name=st.sampled_from(NAMES), enabled=st.booleans())
    def set_issuer(self, name: str, enabled: bool) -> None:
        self.enabled[name] = enabled
        self.run(query(issuers.change, self.issuers[name], {"enabled": enabled}, None))

    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        if self.connected:
            client = self.connected.pop(number % len(self.connected))
            assert client.socket is not None
            self.run(client.socket.disconnect())

    @invariant()
    def connected_are_those_of_the_model(self) -> None:
        async def settled() -> None:
            await until(lambda: len(self.worker.hub.connections()) == len(self.connected))

        self.run(settled())
        assert not any(map(self.is_revoked, self.connected))
        for client in self.connected:
            assert client.socket is not None
            assert client.socket.output_queue.empty()


@pytest.mark.django_db(transaction=True)
def test_connected_is_who_the_model_says() -> None:
    run_state_machine_as_test(
        Access,
        settings=settings(
            max_examples=scaled(20), stateful_step_count=25, suppress_health_check=list(HealthCheck)
        ),
    )
