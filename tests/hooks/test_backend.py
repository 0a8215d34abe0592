"""One hook as a worker asks it: kept connections, misbehaving backends, bounds, the breaker."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from routing_app.core.hooks import backend as module
from routing_app.core.hooks.backend import Backend, Outcome
from routing_app.core.hooks.breaker import ALONE_SECONDS, FAILURES, Attempt, Breaker
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.outgoing.signature import new_secret
from tests.hooks.scripted import Call, Scripted, scripted
from tests.services.waiting import until
from tests.webhooks.test_safety import certificate

pytestmark = pytest.mark.once


def hook(server: Scripted, timeout: float = 20, fail: str = "closed") -> Backend:
    return Backend(7, "publish", server.url, timeout, fail, frozenset(), new_secret())


async def ask(one: Backend) -> Verdict:
    verdict = Verdict()
    await one.ask(Question("tokens", "c", "", "", None, "token:a", "hello"), verdict)
    return verdict


def counted(outcome: Outcome) -> float:
    """What `/metrics` shows of an outcome: all hooks of the process together."""
    labels = {"on": "publish", "outcome": outcome.value}
    return REGISTRY.get_sample_value("switchboard_hooks_total", labels) or 0.0


async def allowing(call: Call) -> None:
    call.answer()


async def failing(call: Call) -> None:
    call.answer({}, "500 Oh")


# --- connections -------------------------------------------------------------------------------------------


async def test_questions_one_after_the_other_share_a_connection():
    async with scripted(allowing) as server:
        one = hook(server)
        for _ in range(5):
            assert (await ask(one)).allow
        assert (len(server.calls), server.connections) == (5, 1)
        head = server.calls[0].head
        assert head.startswith("POST /hooks?shop=7 HTTP/1.1\r\nHost: 127.0.0.1:")
        one.close()


async def test_questions_at_once_share_none_and_leave_theirs_to_later_ones():
    together = asyncio.Event()

    async def hold(call: Call) -> None:
        if len(server.calls) == 8:
            together.set()
        await together.wait()
        call.answer()

    async with scripted(hold) as server:
        one = hook(server)
        for _ in range(2):
            assert all(verdict.allow for verdict in await asyncio.gather(*(ask(one) for _ in range(8))))
        assert (len(server.calls), server.connections) == (16, 8)
        one.close()


async def test_a_question_is_asked_again_where_its_kept_connection_had_ended():
    """The backend ends each connection as its second question comes: it has not answered it."""

    async def serve(call: Call) -> None:
        if [one.number for one in server.calls].count(call.number) == 2:
            call.close()
        else:
            call.answer()

    async with scripted(serve) as server:
        one = hook(server)
        assert [(await ask(one)).allow for _ in range(3)] == [True] * 3
        ids = [call.header("webhook-id") for call in server.calls]
        assert [ids.count(id) for id in ids] == [1, 2, 2, 2, 2]
        one.close()


async def test_a_question_whose_answer_had_begun_is_not_asked_again():
    async def serve(call: Call) -> None:
        if len(server.calls) == 1:
            call.answer()
        else:
            call.write("HTTP/1.1 200 OK\r\n")
            call.close()

    async with scripted(serve) as server:
        one = hook(server)
        assert (await ask(one)).allow
        assert (await ask(one)).unavailable
        assert len(server.calls) == 2
        one.close()


async def test_connections_that_were_not_used_for_a_while_are_closed(monkeypatch: pytest.MonkeyPatch):
    async with scripted(allowing) as server:
        one = hook(server)
        await ask(one)
        one.sweep()
        assert len(server.open) == 1
        monkeypatch.setattr("routing_app.core.outgoing.kept.IDLE_SECONDS", -1)
        one.sweep()
        await until(lambda: not server.open)


# --- answers -----------------------------------------------------------------------------------------------

GOOD = {
    "until the end of the connection": 'HTTP/1.0 200 OK\r\n\r\n{"allow": true}',
    "in chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    '8\r\n{"allow"\r\n7\r\n: true}\r\n0\r\n\r\n',
    "after an announcement": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"allow": true}',
    "with a byte order mark": "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n\ufeff" + '{"allow": true}',
}


@pytest.mark.parametrize("text", GOOD.values(), ids=list(GOOD))
async def test_an_answer_may_come(text: str):
    async def serve(call: Call) -> None:
        call.write(text)
        if "1.0" in text:
            call.close()

    async with scripted(serve) as server:
        one = hook(server)
        assert (await ask(one)).allow
        assert (await ask(one)).allow
        one.close()


HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BAD = {
    "no HTTP": "hello\r\n\r\n",
    "the end in the middle": HEAD + 'Content-Length: 50\r\n\r\n{"allow": true}',
    "the end in a chunk": HEAD + 'Transfer-Encoding: chunked\r\n\r\n20\r\n{"allow": true}',
    "nothing": "",
    "another status": 'HTTP/1.1 201 Created\r\nContent-Length: 15\r\n\r\n{"allow": true}',
    "a redirect": "HTTP/1.1 302 Found\r\nLocation: /hooks\r\nContent-Length: 0\r\n\r\n",
    "another protocol": "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "no JSON": HEAD + "Content-Length: 2\r\n\r\nOK",
    "no UTF-8": (HEAD + "Content-Length: 2\r\n\r\n").encode() + b"\xff\xfe",
    "no object": HEAD + "Content-Length: 4\r\n\r\ntrue",
    "neither yes nor no": HEAD + "Content-Length: 2\r\n\r\n{}",
    "a body without end": HEAD + "\r\n" + "x" * 2**21,
    "a head without end": HEAD + "X-A: " + "x" * 2**21,
}


@pytest.mark.parametrize("fail", ["closed", "open"])
@pytest.mark.parametrize("text", BAD.values(), ids=list(BAD))
async def test_what_is_no_answer_is_a_failure(text: str | bytes, fail: str):
    async def serve(call: Call) -> None:
        call.write(text)
        call.close()

    async with scripted(serve) as server:
        one = hook(server, fail=fail)
        failures = counted(Outcome.FAILED)
        verdict = await ask(one)
        assert (verdict.allow, verdict.unavailable) == (fail == "open", True)
        assert counted(Outcome.FAILED) == failures + 1
        assert len(server.calls) == 1
        one.close()


async def test_bytes_that_nobody_asked_for_end_a_connection():
    async def serve(call: Call) -> None:
        call.answer()
        call.answer({"allow": False})

    async with scripted(serve) as server:
        one = hook(server)
        for _ in range(3):
            assert (await ask(one)).allow
            await until(lambda: not server.open)
        assert server.connections == 3


async def silent(call: Call) -> None:
    await asyncio.Event().wait()


async def reset(call: Call) -> None:
    call.reset()


@pytest.mark.parametrize(("serve", "timeout"), [(silent, 5), (reset, 20)], ids=["silent", "reset"])
async def test_a_backend_without_an_answer_has_failed(
    serve: Callable[[Call], Awaitable[None]], timeout: float
):
    async with scripted(serve) as server:
        one = hook(server, timeout)
        assert (await ask(one)).unavailable
        assert len(server.calls) == 1
        await until(lambda: serve is silent or not server.open)


async def test_nobody_listens():
    async with scripted(allowing) as server:
        pass
    one = hook(server, fail="open")
    verdict = await ask(one)
    assert (verdict.allow, verdict.unavailable) == (True, True)


async def test_tls_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = certificate("localhost", tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    async with scripted(allowing, tls) as server:
        server.url = server.url.replace("http://127.0.0.1", "https://localhost")
        unknown = hook(server)
        assert (await ask(unknown)).unavailable
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        known = hook(server)
        assert (await ask(known)).allow
        assert (await ask(known)).allow
        server.url = server.url.replace("localhost", "127.0.0.1")
        assert (await ask(hook(server))).unavailable
        assert len(server.calls) == 2
        known.close()


# --- bounds ------------------------------------------------------------------------------------------------


async def test_a_turn_that_does_not_come_says_nothing_of_the_backend(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 2)
    release = asyncio.Event()

    async def hold(call: Call) -> None:
        await release.wait()
        call.answer()

    async with scripted(hold) as server:
        one = hook(server)
        under_way = [asyncio.ensure_future(ask(one)) for _ in range(2)]
        await until(lambda: len(server.calls) == 2)
        one._timeout, busy = 0.05, counted(Outcome.BUSY)
        waiting = await asyncio.gather(*(ask(one) for _ in range(FAILURES + 1)))
        assert all(verdict.unavailable for verdict in waiting)
        assert counted(Outcome.BUSY) == busy + FAILURES + 1
        assert not one.breaker.is_open
        release.set()
        assert [verdict.allow for verdict in await asyncio.gather(*under_way)] == [True, True]
        assert len(server.calls) == 2
        one.close()


async def test_a_caller_that_gives_up_leaves_nothing_behind():
    async with scripted(silent) as server:
        one = hook(server)
        asking = asyncio.ensure_future(ask(one))
        await until(lambda: server.calls)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.serve = allowing
        assert (await ask(one)).allow
        assert server.connections == 2  # an answer to the first question would be taken for one to the second
        one.close()


# --- the breaker -------------------------------------------------------------------------------------------


async def test_a_backend_that_fails_is_left_alone_and_tried_by_one_question():
    async with scripted(failing) as server:
        one = hook(server, fail="open")
        now = 0.0
        one.breaker = Breaker(lambda: now)
        for _ in range(FAILURES):
            assert (await ask(one)).allow
        alone = counted(Outcome.LEFT_ALONE)
        assert (await ask(one)).unavailable
        assert (len(server.calls), counted(Outcome.LEFT_ALONE)) == (FAILURES, alone + 1)

        now = ALONE_SECONDS
        verdicts = await asyncio.gather(*(ask(one) for _ in range(5)))
        assert all(verdict.unavailable for verdict in verdicts)
        assert len(server.calls) == FAILURES + 1

        server.serve, now = allowing, 2 * ALONE_SECONDS
        assert not (await ask(one)).unavailable
        verdicts = await asyncio.gather(*(ask(one) for _ in range(5)))
        assert not any(verdict.unavailable for verdict in verdicts)
        one.close()


async def test_a_trial_whose_caller_gives_up_lets_another_one_through():
    async with scripted(silent) as server:
        one = hook(server)
        one.breaker = Breaker(lambda: 0.0)
        for _ in range(FAILURES):
            one.breaker.failed(Attempt.USUAL)
        one.breaker._until = 0.0
        asking = asyncio.ensure_future(ask(one))
        await until(lambda: server.calls)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        server.serve = allowing
        assert (await ask(one)).allow
        one.close()


async def test_the_log_says_why_and_holds_no_secret_and_no_message(caplog: Any):
    async with scripted(failing) as server:
        one = hook(server)
        for _ in range(FAILURES):
            await ask(one)
        server.serve = allowing
        one.breaker._until = 0.0
        await ask(one)
        one.close()
    text = caplog.text
    assert "hook 7 (publish) has failed, `fail` is `closed`: expected the status 200, but got 500" in text
    assert "hook 7 (publish) is left alone for 5 s" in text
    assert "hook 7 answers again" in text
    assert one._secret not in text
    assert "hello" not in text
    assert "shop=7" not in text
