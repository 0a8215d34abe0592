"""Somebody who does what a page says, from top to bottom, beside a server that runs.

| block | is |
|---|---|
| `sh` | run to its end; a line that does not end is started, and the line after `# or:` is left out |
| `js`, `python` | started, in Node and in Python, and goes on beside what follows, as a client does |
| `text` | what has to be printed by then: each line, `…` standing for anything |
| `json` | the shape of something that has to be printed by then: its names and types |
| with the name of a file as its title | saved under this name, for commands that name it |
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.documents.blocks import Block
from tests.services.databases import REPOSITORY
from tests.services.javascript import require_packages
from tests.services.ports import answers, free_port
from tests.services.process import Process
from tests.services.server import Server
from tests.services.waiting import until

SECONDS: Final = 180
LEFT_OUT: Final = {
    "git clone": "it has no address here; the server that the test has started takes its place",
    "pip install": "tests/project/test_package.py installs the package, and tests/clients the clients",
    "npm install": "tests/clients/test_packages.py unpacks what `npm pack` has made",
}
"""Lines of commands that are not run, by what they hold, and why."""
ENDLESS: Final = {
    "curl -N": "retry:",
    "python -m websockets": "Connected",
    "switchboard listen": "listening",
    "python listen.py": "subscribed",
    "python webhooks.py": "",
    "python -m tests.compliance.engineio": "",
}
"""Commands that do not end, and what they print when they have begun; one that prints nothing listens."""
PROGRAMS: Final = {
    r"\.venv/bin/python\b": sys.executable,
    r"(?m)(^|\.venv/bin/|=\S+ )switchboard ": rf"\1{sys.executable} -m switchboard_client.cli ",
    r"(?m)^((?:\w+=\S+ )*)python ": rf"\1{sys.executable} ",
    r"(?m)^make ": "make --dry-run ",  # it would install into `.venv`
}
MODULES: Final = {
    "socket.io-client": "socket.io-client-4.8",
    "switchboard-client": (REPOSITORY / "clients/js/src/index.js").as_uri(),
}
VARYING: Final = {
    "4c0b9c3e1f7a:kX2v9bQe1mTz:41": "…",
    "4c0b9c3e1f7a:kX2v9bQe1mTz:42": "…",
    "kX2v9bQe1mTz": "…",
    '"offset":42': '"offset":…',
}
"""Values that a page shows and that are others each time."""
TOKEN: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""A JWT, which stands for `<TOKEN>`: the last one that was printed."""
ROW: Final = re.compile(r"/api/(issuers|webhooks|hooks)/1\b")
"""The row that was made last stands for the first one."""
RUN_PYTHON: Final = """
import ast, asyncio, sys
code = compile(sys.argv[1], "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
waits = eval(code, {"__name__": "__main__"})
if waits is not None:
    asyncio.run(waits)
"""


class Reader:
    """Runs blocks; `close` ends what is left of them."""

    def __init__(self, broker: Server, folder: Path, token: str) -> None:
        self._broker = broker
        self._folder = folder
        self._token = token
        self._started: list[Process] = []
        self._saved: set[str] = set()
        self._printed = ""
        self._port = str(free_port())
        self._env = broker.env | {
            "KEY": broker.api_key,
            "PYTHONPATH": os.pathsep.join([broker.env["PYTHONPATH"], str(REPOSITORY / "clients/python")]),
            "PYTHONUNBUFFERED": "1",
            "SWITCHBOARD_URL": f"{broker.ws_url}/connection",
            "SWITCHBOARD_API_KEY": broker.api_key,
            "CURL_HOME": str(folder),
        }
        # An HTTP error fails a command.
        (folder / ".curlrc").write_text('silent\nshow-error\nfail-with-body\nwrite-out = "\\n"\n')

    async def run(self, block: Block, before: str = "", after: str = "") -> None:
        """Do what a block says, with other text of its language before and behind it."""
        text = f"{before}{block.text}{after}"
        if block.is_file:
            (self._folder / block.title).write_text(self._here(text))
            self._saved.add(block.title)
            return
        await self.do(block.language, text)

    async def do(self, language: str, text: str) -> None:
        """Do what the text of a block says."""
        acts: dict[str, Callable[[str], Any]] = {
            "sh": self._sh,
            "js": self._js,
            "python": self._python,
            "text": self._text,
            "json": self._json,
        }
        assert language in acts, f"nobody knows how to run {language or 'a block without a language'}"
        waits = acts[language](text)
        if waits is not None:
            await waits

    def _here(self, text: str) -> str:
        """The text for this server."""
        broker = self._broker
        for shown, here in {
            "localhost:8000": f"127.0.0.1:{broker.port}",
            "127.0.0.1:8000": f"127.0.0.1:{broker.port}",
            "https://switchboard.example.com": broker.url,
            "https://example.com": broker.url,
            "wss://example.com": broker.ws_url,
            "https://shop.example.com/events": f"http://127.0.0.1:{self._port}/",
            "PORT=8001": f"PORT={self._port}",
            "--port 3000": f"--port {self._port}",
            "wsPort: 8000": f"wsPort: {broker.port}",
            "sb_…": broker.api_key,
            "sb_...": broker.api_key,
            "<your key>": broker.api_key,
            "<ACCESS TOKEN>": self._token,
        }.items():
            text = text.replace(shown, here)
        for mark, pattern in {
            "<TOKEN>": TOKEN.pattern,
            "<ENDPOINT>": r'"endpoint": ?"([^"]+)"',
            "whsec_…": r"whsec_[\w+/=]+",
        }.items():
            if mark in text:
                text = text.replace(mark, re.findall(pattern, self.printed())[-1])
        made = re.findall(r'"id": ?(\d+)', self._printed)
        return ROW.sub(lambda match: f"/api/{match[1]}/{made[-1]}", text) if made else text

    def _sh(self, text: str) -> None:
        """Run commands to their end, and start those that have none."""
        text = re.sub(r"# or:\n.*", "", text)
        script: list[str] = []
        for line in text.splitlines():
            if any(words in line.partition("#")[0] for words in LEFT_OUT):
                continue
            if any(words in line for words in ENDLESS):
                self._commands("\n".join(script))
                script = []
                self._begin(line)
            else:
                script.append(line)
        self._commands("\n".join(script))

    def _begin(self, line: str) -> None:
        """Start a command that does not end, beside input that does not end either."""
        [word] = [word for words, word in ENDLESS.items() if words in line]
        begun = self._start("sh", "-ec", f"tail -f /dev/null | {self._command(line)}", cwd=REPOSITORY)
        begun.wait_until(lambda: word in begun.log_text() if word else answers(int(self._port)), SECONDS)

    def _command(self, text: str) -> str:
        text = self._here(text)
        for program, here in PROGRAMS.items():
            text = re.sub(program, here, text)
        for name in self._saved:
            text = re.sub(rf"(?<= ){re.escape(name)}\b", str(self._folder / name), text)
        return text

    def _commands(self, text: str) -> None:
        if not text.strip():
            return
        done = subprocess.run(
            ["sh", "-ec", self._command(text)],
            cwd=REPOSITORY,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self._printed += done.stdout + "\n"

    def _js(self, text: str) -> None:
        """Start a program in Node, in a folder where the clients of others are installed."""
        folder = require_packages("tests/interop")
        is_module = "require(" not in text
        text = self._here(text)
        for name, here in MODULES.items():
            text = text.replace(f'"{name}"', f'"{here}"')
        if "new WebSocket" in text and "class WebSocket" not in text:
            named = 'import { WebSocket } from "ws"' if is_module else 'const { WebSocket } = require("ws")'
            text = f"{named};\n{text}"
        kind = "module" if is_module else "commonjs"
        self._start("node", f"--input-type={kind}", "--eval", text, cwd=folder)

    def _python(self, text: str) -> None:
        """Start a program in Python, which may await at its top level."""
        self._start(sys.executable, "-c", RUN_PYTHON, self._here(text), cwd=REPOSITORY)

    def _start(self, *command: str, cwd: Path) -> Process:
        log = self._folder / f"{len(self._started)}.log"
        log.touch()
        self._started.append(Process(command, log=log, env=self._env, cwd=cwd))
        return self._started[-1]

    async def _text(self, text: str) -> None:
        """Wait until every line was printed."""
        for line in text.splitlines():
            shown = self._here(line)
            for value, mark in VARYING.items():
                shown = shown.replace(value, mark)
            pattern = re.compile(re.escape(shown).replace("…", ".*"))
            await self._until(partial(self._has_printed, pattern), line)

    async def _json(self, text: str) -> None:
        """Wait until something of the same shape was printed."""
        shown = json.loads(text)
        await self._until(lambda: any(_is_alike(shown, value) for value in self._values()), text)

    async def _until(self, condition: Callable[[], bool], wanted: str) -> None:
        try:
            await until(condition, SECONDS)
        except AssertionError:
            pytest.fail(f"nothing has printed {wanted!r}:\n{self.printed()}")

    def printed(self) -> str:
        """All that was printed."""
        return self._printed + "".join(process.log_text() for process in self._started)

    def _has_printed(self, pattern: re.Pattern[str]) -> bool:
        return pattern.search(self.printed()) is not None

    def _values(self) -> Iterator[Any]:
        """Every line that is JSON."""
        for line in self.printed().splitlines():
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def failed(self) -> list[str]:
        """What programs have printed that ended with an error."""
        return [process.log_text() for process in self._started if process.exit_code not in (None, 0)]

    def close(self) -> None:
        """End what was started."""
        for process in self._started:
            process.kill_session()


def _is_alike(shown: Any, found: Any) -> bool:
    """Whether a value has the names and types of one that a page shows; a list may have more entries."""
    if isinstance(shown, dict):
        return (
            isinstance(found, dict)
            and set(shown) == set(found)
            and all(_is_alike(value, found[name]) for name, value in shown.items())
        )
    if isinstance(shown, list):
        return isinstance(found, list) and len(found) >= len(shown) and all(map(_is_alike, shown, found))
    return type(shown) is type(found)
