"""The parsers of npm as one Node process (`parsers.mjs`)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.services.javascript import require_packages

SCRIPT: Final = Path(__file__).parent / "parsers.mjs"
ENGINE_3: Final = ("socket.io-client-1.7", "socket.io-client-2.5")
ENGINE_4: Final = ("socket.io-client-3.1", "socket.io-client-4.8")
SOCKET: Final = (
    "socket.io-client-1.7",
    "socket.io-client-2.5",
    "socket.io-client-3.1",
    "socket.io-client-4.8",
)
"""The client that brings each parser: engine.io-parser 1.3, 2.2, 4.0 and 5.2; socket.io-parser 2.3, 3.3, 4.0
and 4.2."""

Packets = list[Any] | None
"""What a parser makes of an input; None when it refuses."""


class Parsers:
    """Asks the process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def decode(self, parser: str, what: str, inputs: Sequence[str | bytes]) -> list[Packets]:
        """The packets of each input, by the parser that a client brings."""
        shown = [one if isinstance(one, str) else {"base64": base64_of(one)} for one in inputs]
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"parser": parser, "what": what, "inputs": shown}) + "\n")
        stdin.flush()
        answers: list[Packets] = json.loads(stdout.readline())
        assert len(answers) == len(inputs)
        return answers


@contextmanager
def parsers() -> Iterator[Parsers]:
    """The process, which ends with the block; skips where npm or Node is missing."""
    require_packages("tests/interop")
    if (node := shutil.which("node")) is None:
        pytest.skip("Node is not installed (make test installs it)")
    with subprocess.Popen(
        [node, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        yield Parsers(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def base64_of(data: bytes) -> str:
    """Bytes as they travel."""
    return base64.b64encode(data).decode()
