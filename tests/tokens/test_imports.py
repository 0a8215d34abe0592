"""Tables of tokens from elsewhere: reading them, what they may change, the command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from routing_app.tokens import imports, service
from routing_app.tokens.imports import TableError
from routing_app.tokens.models import RegisteredToken, Source

EXAMPLE = r'{"abc1":true,"abc2":true,"abc3":true,"group\/item1":true,"group\/item2":true}'

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def website(answer: Answer) -> Iterator[str]:
    """A web server that answers every GET as told; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def states() -> dict[str, tuple[bool, str]]:
    return {row.token: (row.enabled, row.disabled_by) for row in RegisteredToken.objects.all()}


# --- reading ---------------------------------------------------------------------------------------------


def test_table_of_the_original_over_http() -> None:
    with website(reply(200, EXAMPLE.encode())) as url:
        rows = imports.read(f"{url}/registeredtokens.php")

    assert rows == dict.fromkeys(["abc1", "abc2", "abc3", "group/item1", "group/item2"], True)


def test_table_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens with a space.json"
    path.write_text("\ufeff" + EXAMPLE)

    assert imports.read(str(path)) == imports.read(path.as_uri()) == json.loads(EXAMPLE)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the table is not JSON"),
        (b"abc1", "the table is not JSON"),
        (b"\xff", "the table is not JSON"),
        (b"[" * 100_000, "the table is not JSON"),
        (b'["abc1"]', "expected a JSON object"),
        (b"null", "expected a JSON object"),
    ],
)
def test_a_text_that_is_no_table_is_an_error(body: bytes, sentence: str) -> None:
    with website(reply(200, body)) as url, pytest.raises(TableError, match=sentence):
        imports.read(url)


def test_only_a_good_answer_counts() -> None:
    with website(reply(500, EXAMPLE.encode())) as url, pytest.raises(TableError, match="the answer was 500"):
        imports.read(url)


def test_unreachable_site_is_an_error() -> None:
    with website(reply(200)) as url:
        pass
    with pytest.raises(TableError, match="refused"):
        imports.read(url)


@pytest.mark.parametrize("source", ["ftp://a.example/t", "gopher://a", "data://x", "javascript://x"])
def test_other_schemes_are_refused(source: str) -> None:
    with pytest.raises(TableError, match="http, https, file"):
        imports.read(source)


def test_redirects_lead_to_the_web_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(EXAMPLE)
    with website(reply(200, EXAMPLE.encode())) as target:
        with website(reply(302, Location=f"{target}/t")) as url:
            assert imports.read(url) == json.loads(EXAMPLE)
        for elsewhere in (secret.as_uri(), "ftp://127.0.0.1/t"):
            with website(reply(302, Location=elsewhere)) as url, pytest.raises(TableError):
                imports.read(url)


def test_password_of_a_url_goes_to_its_host_alone() -> None:
    seen: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        reply(200, b"{}")(request)

    with website(answer) as target:
        imports.read(target.replace("//", "//anna:p%40ss@"))
        with website(reply(302, Location=target)) as url:
            imports.read(url.replace("//", "//anna:p%40ss@"))

    assert seen == ["Basic YW5uYTpwQHNz", None]


def test_location_for_a_log_holds_no_credentials() -> None:
    assert imports.location("https://anna:secret@a.example:81/t?key=secret") == "https://a.example:81/t"
    assert imports.location("/var/tokens.json") == "/var/tokens.json"


@pytest.mark.parametrize("part", ["status line", "body"])
def test_decision_24_slow_site_is_given_up(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """It sends a byte now and then, so that no timeout of the socket ever ends: here it is too long for that,
    however seldom a byte comes."""
    opener = imports._opener()
    socket_waits = SimpleNamespace(open=lambda asked, timeout: opener.open(asked, timeout=60))
    monkeypatch.setattr(imports, "_opener", lambda: socket_waits)
    monkeypatch.setattr(imports, "TIMEOUT_SECONDS", 0.5)
    ended = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        if part == "body":
            reply(200, b" ", **{"Content-Length": "1000"})(request)
        while not ended.wait(0.1):
            request.wfile.write(b" ")

    with website(answer) as url:
        with pytest.raises(TableError, match=r"no table within 0\.5 seconds"):
            imports.read(url)
        ended.set()


def test_table_has_a_greatest_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(imports, "MAX_BYTES", 10)
    (tmp_path / "t").write_text(" " * 9 + "{}")
    with pytest.raises(TableError, match="larger than 10 bytes"):
        imports.read(str(tmp_path / "t"))
    with (
        website(reply(200, b" " * 9 + b"{}")) as url,
        pytest.raises(TableError, match="larger than 10 bytes"),
    ):
        imports.read(url)


# --- storing ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_decision_24_import_adds_and_updates_only() -> None:
    imports.store({"abc1": True, "abc2": False, "abc3": True})
    outcome = imports.store({"abc1": False, "abc2": True, "abc4": True})

    assert states() == {"abc1": (False, "import"), "abc2": (True, ""), "abc3": (True, ""), "abc4": (True, "")}
    assert (outcome.added, outcome.enabled, outcome.disabled, outcome.revoked) == (1, 1, 1, ["abc1"])
    assert set(RegisteredToken.objects.values_list("source", flat=True)) == {"import"}


@pytest.mark.django_db
@pytest.mark.parametrize("by", [Source.ADMIN, Source.API])
def test_decision_24_local_false_wins(by: Source) -> None:
    imports.store({"abc1": True, "abc2": False})
    service.unregister("abc1", by)
    service.disable(RegisteredToken.objects.filter(token="abc2"), by)

    outcome = imports.store({"abc1": True, "abc2": True})

    assert states() == {"abc1": (False, by), "abc2": (False, by)}
    assert (outcome.kept, outcome.enabled) == (2, 0)

    service.register("abc1", by)
    assert states()["abc1"] == (True, "")


@pytest.mark.django_db
def test_imported_false_disables_a_token_enabled_here() -> None:
    service.register("abc1", Source.ADMIN)

    assert imports.store({"abc1": False}).revoked == ["abc1"]
    assert states() == {"abc1": (False, "import")}
    assert imports.store({"abc1": True}).enabled == 1
    assert RegisteredToken.objects.get().source == Source.ADMIN


@pytest.mark.django_db
def test_import_names_skipped_rows_and_takes_the_rest() -> None:
    entries = {
        "a|b": True,
        "": True,
        "unregistered": True,
        "x" * 256: True,
        "abc1": "yes",
        "abc2": None,
        " abc3 ": True,
    }

    outcome = imports.store(entries)

    assert states() == {"abc3": (True, "")}
    assert [str(skipped) for skipped in outcome.skipped] == [
        "entry 1, a|… (3): a token holds no comma and no |",
        "entry 2, empty: a token is not empty",
        "entry 3, un… (12): unregistered stands for clients without a token",
        "entry 4, xx… (256): a token has at most 255 characters",
        "entry 5, ab… (4): expected true or false",
        "entry 6, ab… (4): expected true or false",
    ]
    assert str(outcome) == "1 added, 0 enabled, 0 disabled, 0 unchanged, 0 kept disabled, 6 skipped"


@pytest.mark.django_db
def test_empty_table_changes_nothing() -> None:
    imports.store({"abc1": True})
    imports.store({})

    assert states() == {"abc1": (True, "")}


@pytest.mark.django_db
def test_table_larger_than_a_statement() -> None:
    rows = {f"token{number}": number % 2 == 0 for number in range(2345)}
    imports.store(rows)

    outcome = imports.store({token: not value for token, value in rows.items()})

    assert (outcome.enabled, outcome.disabled) == (1172, 1173)
    assert {token: enabled for token, (enabled, _) in states().items()} == {t: not v for t, v in rows.items()}


@pytest.mark.django_db(transaction=True)
def test_imports_at_the_same_time_are_harmless() -> None:
    rows = {f"token{number}": number % 2 == 0 for number in range(700)}
    imports.store({token: not value for token, value in list(rows.items())[::3]})
    failures: list[Exception] = []

    def run() -> None:
        try:
            imports.store(rows)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert {token: enabled for token, (enabled, _) in states().items()} == rows


def test_any_json_object_can_be_stored(django_db_blocker: Any, django_db_setup: Any) -> None:
    keys = st.one_of(st.text(), st.sampled_from(["abc1", " abc1", "abc2", "unregstered"]))
    values = st.one_of(st.booleans(), st.none(), st.text(), st.integers())

    @given(st.lists(st.dictionaries(keys, values), max_size=3))
    def any_tables(tables: list[dict[str, Any]]) -> None:
        RegisteredToken.objects.all().delete()
        for rows in tables:
            outcome = imports.store(rows)
            counted = outcome.added + outcome.enabled + outcome.disabled + outcome.unchanged + outcome.kept
            assert counted + len(outcome.skipped) <= len(rows)
        last = {
            key.strip(): value for rows in tables for key, value in rows.items() if isinstance(value, bool)
        }
        assert {token: enabled for token, (enabled, _) in states().items()}.items() <= last.items()

    with django_db_blocker.unblock():
        try:
            any_tables()
        finally:
            RegisteredToken.objects.all().delete()


# --- the command -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_command_reports_its_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens.json"
    path.write_text('{"abc1": true, "secret|": true}')

    call_command("import_tokens", str(path))

    assert capsys.readouterr().out.splitlines() == [
        "skipped entry 2, se… (7): a token holds no comma and no |",
        "1 added, 0 enabled, 0 disabled, 0 unchanged, 0 kept disabled, 1 skipped",
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("source", ["no-such-file", "ftp://a.example/t"])
def test_command_fails_in_one_line_and_keeps_the_table(source: str) -> None:
    imports.store({"abc1": True})

    with pytest.raises(CommandError) as error:
        call_command("import_tokens", source)

    assert "\n" not in str(error.value)
    assert states() == {"abc1": (True, "")}
