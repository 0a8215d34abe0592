"""Messages after a commit reach receivers of a real server: in order, once, whatever dies in between."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings
from websockets.sync.client import ClientConnection, connect

from tests.conftest import SCALED_OUT, ServerFactory
from tests.documents.blocks import ALL
from tests.services.databases import REPOSITORY, Databases, sql
from tests.services.server import Server
from tests.services.waiting import wait_until

WAIT: int = 60
"""A limit for what hangs, not a measure."""


def subscriber(server: Server, token: str) -> ClientConnection:
    return connect(f"{server.ws_url}/ws?RegisterToken={token}", max_size=None, proxy=None)


def write(server: Server, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process on the same database."""
    lines = f"import os\nfrom django.db import transaction\nfrom switchboard import publish_on_commit\n{code}"
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", lines],
        cwd=REPOSITORY,
        env=server.env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def received(socket: ClientConnection, count: int) -> list[str]:
    return [str(socket.recv(WAIT)) for _ in range(count)]


def left(server: Server) -> int:
    """Rows of the table."""
    return int(sql(server.database_url, "SELECT count(*) FROM outbox_message")[0][0])


def end_connections(server: Server) -> None:
    """Have PostgreSQL end every connection of a server, and wait until they are gone."""
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
        ended = [pid for pid, _ in rows]
        assert ended
        alive = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)"
        wait_until(lambda: not connection.execute(alive, [ended]).fetchall())


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of all tests that leave it as it was."""
    url = databases.create()
    server = Server(tmp_path_factory.mktemp("broker"), {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL})
    server.start()
    yield server
    server.close()
    databases.drop(url)


def test_messages_of_a_writer_come_in_the_order_of_its_commits(broker: Server) -> None:
    with subscriber(broker, "ordered") as socket:
        done = write(
            broker,
            "for n in range(200):\n"
            "    with transaction.atomic():\n"
            "        publish_on_commit(['token:ordered'], str(n))\n"
            "        publish_on_commit(['token:ordered'], str(n) + ' again')\n",
        )
        assert done.returncode == 0, done.stderr
        expected = [text for n in range(200) for text in (str(n), f"{n} again")]
        assert received(socket, 400) == expected
    wait_until(lambda: left(broker) == 0)


def test_a_process_that_dies_right_after_its_commit_has_published(broker: Server) -> None:
    """Django's `on_commit` alone would have lost it: here it is what kills the process."""
    with subscriber(broker, "killed") as socket:
        done = write(
            broker,
            "with transaction.atomic():\n"
            "    transaction.on_commit(lambda: os._exit(9))\n"
            "    publish_on_commit(['token:killed'], 'after all')\n"
            "    transaction.on_commit(lambda: publish_on_commit(['token:killed'], 'never'))\n",
        )
        assert done.returncode == 9
        assert received(socket, 1) == ["after all"]


def test_a_process_that_dies_before_its_commit_has_published_nothing(broker: Server) -> None:
    with subscriber(broker, "unborn") as socket:
        done = write(
            broker,
            "publish_on_commit(['token:unborn'], 'first')\n"
            "with transaction.atomic():\n"
            "    publish_on_commit(['token:unborn'], 'unborn')\n"
            "    os._exit(9)\n",
        )
        assert done.returncode == 9
        write(broker, "publish_on_commit(['token:unborn'], 'last')")
        assert received(socket, 2) == ["first", "last"]


def test_what_no_worker_has_sent_is_sent_by_the_next(server: ServerFactory) -> None:
    broker = server(HISTORY_SIZE="1000")
    broker.kill()
    write(broker, "for n in range(50): publish_on_commit(['token:later'], str(n))")
    assert left(broker) == 50
    broker.start()

    with connect(f"{broker.ws_url}/ws?RegisterToken=later&last=1000", proxy=None) as socket:
        assert received(socket, 50) == [str(n) for n in range(50)]


@pytest.mark.skipif(not SCALED_OUT, reason="one process has no other that could go on")
@pytest.mark.parametrize("kept", ["0", "1000"], ids=["without history", "with history"])
def test_a_killed_worker_leaves_the_rest_to_another(server: ServerFactory, kept: str) -> None:
    """By their ids, those that it had published and not deleted come once."""
    doomed = server(HISTORY_SIZE=kept)
    other = server(DATABASE_URL=doomed.database_url, HISTORY_SIZE=kept)
    with subscriber(other, "survivor") as socket:
        writing = subprocess.Popen(
            [
                *(sys.executable, "manage.py", "shell", "-v", "0", "-c"),
                "from switchboard import publish_on_commit\n"
                "for n in range(600): publish_on_commit(['token:survivor'], str(n))\n",
            ],
            cwd=REPOSITORY,
            env=other.env,
            stdin=subprocess.DEVNULL,
        )
        seen = received(socket, 100)
        doomed.kill()
        seen += received(socket, 500)
        assert writing.wait(WAIT) == 0
    assert seen == [str(n) for n in range(600)]


def test_a_row_that_cannot_be_published_stops_no_other(broker: Server) -> None:
    with subscriber(broker, "sane") as socket:
        done = write(
            broker,
            "from routing_app.core.models import OutboxMessage as Row\n"
            "Row.objects.create(addresses=['nowhere'], message='x')\n"
            "Row.objects.create(addresses='token:sane', message='x')\n"
            "Row.objects.create(addresses=[['token:sane']], message='x')\n"
            "Row.objects.create(id='i' * 500, addresses=['token:sane'], message={'a': None})\n"
            # Valid for both databases, and deeper than what is JSON for this server.
            "deep = '[' * 990 + ']' * 990\n"
            "insert = 'INSERT INTO outbox_message (id, addresses, message) VALUES (%s, %s, %s)'\n"
            "from django.db import connection\n"
            "connection.cursor().execute(insert, ['d', '[\"token:sane\"]', deep])\n"
            "connection.cursor().execute(insert, ['e', deep, '1'])\n"
            "publish_on_commit(['token:sane'], 'last')\n",
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(received(socket, 1)[0]) == {"a": None}
        assert received(socket, 1) == ["last"]
    wait_until(lambda: left(broker) == 0)
    assert "nowhere" not in broker.log_text()
    assert "the row 'd' of a message after a commit cannot be published" in broker.log_text()


@pytest.mark.skipif(not SCALED_OUT, reason="SQLite is nobody's server")
def test_any_program_may_insert_rows(broker: Server) -> None:
    """The example of docs/transactional.md."""
    [example] = [block.text for block in ALL["docs/transactional.md"] if block.language == "sql"]
    with subscriber(broker, "abc1") as socket, psycopg.connect(broker.database_url) as connection:
        connection.execute(example.encode())
        connection.commit()
        assert json.loads(received(socket, 1)[0]) == {"order": 17}


@pytest.mark.skipif(not SCALED_OUT, reason="SQLite is nobody's server")
def test_after_an_outage_of_the_database_messages_come_again(broker: Server) -> None:
    end_connections(broker)
    with subscriber(broker, "healed") as socket:
        write(broker, "for n in range(3): publish_on_commit(['token:healed'], str(n))")
        assert received(socket, 3) == ["0", "1", "2"]
