"""A project of `django-admin startproject` with the broker in it, as docs/embedding.md says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.project.exchanges import Site
from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process

PAGE: Final = (REPOSITORY / "docs" / "embedding.md").read_text(encoding="utf-8")
APP: Final = {
    "__init__.py": "",
    "models.py": """
from django.db import models

class Order(models.Model):
    item = models.CharField(max_length=20)

    class Meta:
        app_label = "shop"
""",
    "walkers.py": """
import switchboard

@switchboard.walker(auth=False)
def greet(name: str):
    switchboard.report(f"hello {name}")
""",
    "requests.py": """
import switchboard

@switchboard.on_request("orders")
async def orders(context):
    from shop.models import Order
    await context.reply({"count": await Order.objects.acount()})
""",
}
URLS: Final = """
import os
from django.http import HttpResponse
from shop.views import order
urlpatterns += [path("order", order), path("", lambda request: HttpResponse("the project's own page"))]
urlpatterns += [path("upload", lambda request: HttpResponse(str(len(request.body))))]
"""
PYTHON: Final = os.environ.get("EMBEDDING_PYTHON", sys.executable)
"""Another one may have another Django (CONTRIBUTING.md)."""
COMMANDS: Final = {
    "daphne": ["-m", "daphne", "mysite.asgi:application", "-b", LOOPBACK, "-p"],
    "uvicorn": ["-m", "uvicorn", "mysite.asgi:application", "--host", LOOPBACK, "--port"],
    "serve": ["manage.py", "serve", "--host", LOOPBACK, "--port"],
}


def after(words: str) -> str:
    """The first Python of the page behind some words."""
    found = re.search(r"^```python\n(.*?)^```", PAGE[PAGE.index(words) :], re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


class Project:
    """The folder of a project, and the key that its commands have made."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self._call("-m", "django", "startproject", "mysite", str(folder))
        shop = folder / "shop"
        shop.mkdir()
        for name, text in {**APP, "views.py": after("`shop/views.py`")}.items():
            (shop / name).write_text(text, encoding="utf-8")
        commands = after("## Commands of the server").replace("\n", "\n    ")
        self._append("settings", f"{settings}\n{after('`mysite/settings.py`')}")
        self._append("settings", 'INSTALLED_APPS += ["examples.pusher"]')
        self._append("settings", f"import os\nif 'COMMANDS' in os.environ:\n    {commands}")
        urls = after("`mysite/urls.py`").replace("urls()", 'urls(prefix=os.environ.get("PREFIX", ""))')
        self._append("urls", URLS + urls)
        self._append("asgi", after("`mysite/asgi.py`"))
        lines = re.findall(r"^python (manage\.py .*)$", PAGE, re.MULTILINE)
        self.key = [self.manage(*line.split()[1:]) for line in lines][-1].strip()

    def manage(self, *arguments: str, codes: Container[int] = (0,), **env: str) -> str:
        """Run a command of the project, which may end with these exit codes; its stdout."""
        return self._call("manage.py", *arguments, codes=codes, **env)

    @contextmanager
    def served(self, server: str, prefix: str = "") -> Iterator[Site]:
        """The project under a server."""
        port = free_port()
        command = [PYTHON, *COMMANDS[server], str(port)]
        env = self._env() | {"PREFIX": prefix} | ({"COMMANDS": "yes"} if server == "serve" else {})
        process = Process(command, log=self.folder / f"{server}.log", env=env, cwd=self.folder)
        try:
            process.wait_until(lambda: answers(port))
            yield Site(port, self.key)
        finally:
            process.stop()
            process.kill_session()

    def _append(self, module: str, text: str) -> None:
        with (self.folder / "mysite" / f"{module}.py").open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")

    def _call(self, *words: str, codes: Container[int] = (0,), **env: str) -> str:
        done = subprocess.run(
            [PYTHON, *words],
            cwd=self.folder,
            env=self._env() | env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, done.stderr
        return done.stdout

    def _env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "TMPDIR")}
        return kept | {"PYTHONPATH": str(REPOSITORY)}
