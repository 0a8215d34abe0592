"""A server without webhooks does not pay for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once


def test_httpx_is_imported_with_the_first_call_alone(tmp_path: Path):
    code = (
        "import sys, broker_project.asgi, routing_app.core.worker, routing_app.core.rest.webhooks\n"
        "from routing_app.core.outgoing.client import Client\n"
        "client = Client(private=True)\n"
        "assert 'httpx' not in sys.modules, 'too early'\n"
        "import asyncio\n"
        "from routing_app.core.outgoing.failures import CallFailed\n"
        "try: asyncio.run(client.post('http://127.0.0.1:1/', b'', {}, 5))\n"
        "except CallFailed: print('httpx' in sys.modules)\n"
    )
    env = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/db",
        "VAR_DIR": str(tmp_path),
        "REDIS_URL": "",
    }
    env["DJANGO_SETTINGS_MODULE"] = "broker_project.settings"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
