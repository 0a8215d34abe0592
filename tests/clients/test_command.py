"""`switchboard listen|send|request`, and the example, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from switchboard_client.cli import main

from tests.clients.test_python import url_of
from tests.services.databases import REPOSITORY
from tests.services.ports import free_port
from tests.services.server import Server

pytestmark = pytest.mark.once  # the client's own side, on one server

Run = Callable[..., tuple[int, str, str]]

PYTHON = REPOSITORY / "clients" / "python"


def environment(server: Server) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(PYTHON),
        "SWITCHBOARD_URL": url_of(server),
        "SWITCHBOARD_API_KEY": server.api_key,
    }


def switchboard(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in a process of its own."""
    command = [sys.executable, "-m", "switchboard_client.cli", *arguments]
    env = environment(server)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def listening(server: Server, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`switchboard listen`, from when it listens."""
    command = [sys.executable, "-m", "switchboard_client.cli", "listen", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment(server), stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "listening\n"
            yield process
        finally:
            process.kill()


def test_listen_prints_the_publications_of_send(broker: Server) -> None:
    with listening(broker, "--count", "2", "channel:cli", "token:cli") as listener:
        outcome = switchboard(broker, "send", "channel:cli", '{"n": [1, "é"]}')
        assert outcome.returncode == 0, outcome.stderr
        assert json.loads(outcome.stdout) in ({"delivered_to": 1}, {"accepted": True})
        switchboard(broker, "send", "token:cli", "just text")
        output, _ = listener.communicate(timeout=60)
    assert [json.loads(line) for line in output.splitlines()] == [
        {"address": "channel:cli", "message": {"n": [1, "é"]}},
        {"address": "token:cli", "message": "just text"},
    ]


def test_listen_ends_by_ctrl_c(one_worker: Server) -> None:
    with listening(one_worker, "channel:cli") as listener:
        listener.send_signal(signal.SIGINT)
        assert listener.wait(60) == 130


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, stdout and stderr."""

    def run(server: Server, *arguments: str, key: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setenv("SWITCHBOARD_URL", url_of(server))
        monkeypatch.setenv("SWITCHBOARD_API_KEY", server.api_key if key is None else key)
        return main(arguments), *capsys.readouterr()

    return run


def test_request_prints_partials_and_the_reply(one_worker: Server, run: Run) -> None:
    _, output, _ = run(one_worker, "request", '{"type": "question"}')

    assert [json.loads(line) for line in output.splitlines()] == [
        {"n": 1},
        {"n": 2},
        {"answer": "ok"},
    ]


def test_failures_have_an_exit_code_and_a_line(one_worker: Server, run: Run) -> None:
    for arguments, key, text in (
        (["request", '{"type": "fail"}'], None, "nope"),
        (["request", "not json"], None, "JSON object"),
        (["--timeout", "0.1", "request", '{"type": "late", "seconds": 30}'], None, "in time"),
        (["listen", "nonsense"], None, "kind:name"),
        (["send", "token:x", "m"], "", "API key"),
        (["send", "token:x", "m"], "swk_wrong_key_that_nobody_has", "403"),
        (["--url", "nonsense", "request", "{}"], None, "nonsense"),
        (["--url", f"ws://127.0.0.1:{free_port()}", "request", "{}"], None, "failed"),
    ):
        code, _, error = run(one_worker, *arguments, key=key)
        assert code == 1, arguments
        assert text in error
        assert len(error.splitlines()) == 1
    with pytest.raises(SystemExit) as exit:
        run(one_worker, "nonsense")
    assert exit.value.code == 2


def test_the_example(broker: Server) -> None:
    command = [sys.executable, "examples/questions.py", url_of(broker)]
    outcome = subprocess.run(
        command, cwd=PYTHON, env=environment(broker), capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.stdout == "How many? 42!\n", outcome.stderr
