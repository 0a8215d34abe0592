"""Random clients, token changes and broadcasts on a real server, against a model of each client's frames."""

from __future__ import annotations

from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.services.server import Server
from tests.tokens.client import Client, call, form

TOKENS = ["a", "ab", "a/", "a/b", "a/b/c", "a/bc", "/", "unregistered", "ż"]
REGISTRABLE = [token for token in TOKENS if token != "unregistered"]
tokens = st.sampled_from(TOKENS)
receivers = st.lists(st.sampled_from([*TOKENS, "a/b/", "", " a ", "unregstered", "nobody"]), max_size=4)
payloads = st.sampled_from(["", "x", "a|b", "ż", "1"])
clients = st.integers(0, 9)


def reaches(entries: list[str], token: str) -> bool:
    """Does a list of receivers reach a token? Written from the protocol, not from the code."""
    names = [entry.strip().replace("unregstered", "unregistered") for entry in entries]
    return any(name and (name == token or (name.endswith("/") and token.startswith(name))) for name in names)


class AnyToken(RuleBasedStateMachine):
    """At most ten clients of one server to which every token may connect."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[Client] = []
        self.tokens: list[str] = []
        self.expected: list[list[str]] = []

    def one(self, number: int) -> int:
        return number % len(self.clients)

    def expect(self, entries: list[str], payload: str) -> None:
        for token, frames in zip(self.tokens, self.expected, strict=True):
            if reaches(entries, token):
                frames.append(payload)

    def enabled(self, token: str) -> bool:
        return True

    def renamed(self, number: int, token: str) -> None:
        if self.enabled(token):
            self.tokens[number] = token

    def joined(self, token: str) -> None:
        self.clients.append(Client(self.server, token))
        self.tokens.append(token)
        self.expected.append([])

    @rule(token=tokens)
    def join(self, token: str) -> None:
        if len(self.clients) < 10 and self.enabled(token):
            self.joined(token)

    @precondition(lambda self: self.clients)
    @rule(number=clients)
    def leave(self, number: int) -> None:
        number = self.one(number)
        self.check(number)
        self.clients.pop(number).close()
        del self.tokens[number], self.expected[number]

    @precondition(lambda self: self.clients)
    @rule(number=clients, token=tokens)
    def change_token(self, number: int, token: str) -> None:
        number = self.one(number)
        self.clients[number].send(f"RegisterToken:{token}")
        self.renamed(number, token)
        self.check(number)

    @precondition(lambda self: self.clients)
    @rule(number=clients, entries=receivers, payload=payloads)
    def broadcast(self, number: int, entries: list[str], payload: str) -> None:
        number = self.one(number)
        self.clients[number].send(f"{','.join(entries)}|{payload}")
        self.expect(entries, payload)
        self.check(number)

    @rule(entries=receivers, payload=payloads)
    def broadcast_by_api(self, entries: list[str], payload: str) -> None:
        assert form(self.server, "broadcast", message=f"{','.join(entries)}|{payload}").status == 200
        self.expect(entries, payload)

    @rule(names=st.lists(tokens, min_size=1, max_size=3), payload=payloads)
    def publish(self, names: list[str], payload: str) -> None:
        body = {"addresses": [f"token:{name}" for name in names], "message": payload}
        assert call(self.server, "POST", "/api/publish", body).status == 200
        self.expect(names, payload)

    def check(self, number: int) -> None:
        """The client has received the model's frames, in order, and nothing else."""
        expected, self.expected[number] = self.expected[number], []
        assert self.clients[number].received() == expected

    @invariant()
    def every_client_has_its_frames(self) -> None:
        for number in range(len(self.clients)):
            self.check(number)

    def teardown(self) -> None:
        for client in self.clients:
            client.close()


class RegisteredOnly(AnyToken):
    """The same where only registered tokens may connect, and revoking closes."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: set[str] = set()

    def enabled(self, token: str) -> bool:
        return token in self.registered

    @initialize()
    def nothing_is_registered(self) -> None:
        for token in form(self.server, "registeredTokenList").json():
            form(self.server, "unregisterToken", token=token)

    @rule(token=st.sampled_from(REGISTRABLE))
    def register(self, token: str) -> None:
        assert form(self.server, "registerToken", token=token).status == 200
        self.registered.add(token)

    @rule(token=st.sampled_from(REGISTRABLE))
    def unregister(self, token: str) -> None:
        assert form(self.server, "unregisterToken", token=token).status == 200
        self.registered.discard(token)
        revoked = [number for number, mine in enumerate(self.tokens) if mine == token]
        for number in reversed(revoked):
            assert self.clients.pop(number).close_code() == 4403
            del self.tokens[number], self.expected[number]


def run(machine: type[AnyToken], server: Server) -> None:
    examples = 12 if hypothesis.settings().max_examples <= 100 else 300
    settings = hypothesis.settings(
        max_examples=examples, stateful_step_count=30, suppress_health_check=list(hypothesis.HealthCheck)
    )
    on_server: Any = type(machine.__name__, (machine,), {"server": server})
    run_state_machine_as_test(on_server, settings=settings)


def test_every_client_receives_exactly_its_frames(broker: Server) -> None:
    run(AnyToken, broker)


def test_the_same_where_only_registered_tokens_may_connect(registered_only: Server) -> None:
    run(RegisteredOnly, registered_only)
