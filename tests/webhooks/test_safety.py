"""Where calls may go: checked when a webhook is saved, and again, by the address itself, when it is sent."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.exceptions import ValidationError

from routing_app.core.database import query
from routing_app.core.models.webhooks import Delivery
from routing_app.core.outgoing import names
from routing_app.core.outgoing.addresses import is_public
from routing_app.core.outgoing.client import MAX_ANSWER_BYTES, Client
from routing_app.core.outgoing.failures import AddressRefused, AnswerBroken, AnswerLate, Unreachable
from routing_app.core.outgoing.headers import check_headers
from routing_app.core.outgoing.urls import check_url, refusal_of
from tests.services.waiting import until
from tests.webhooks.conftest import Sending, make, write
from tests.webhooks.receiver import HUGE, Receiver

SECONDS = 60.0
"""A limit for calls that hang, not a measure."""
PRIVATE = (
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:a00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
    *("2002:7f00:1::1", "2002:c0a8:101::", "2001:0:1:2::1", "2001:db8::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "5f00::1"),
)
PUBLIC = ("1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8")
ALSO_PUBLIC = ("64:ff9b::808:808", "2002:808:808::1", "100.128.0.1", "169.253.0.1")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """One that may call the receiver."""
    one = Client(private=True)
    yield one
    await one.close()


@pytest.mark.once
def test_only_addresses_of_the_internet_are_public():
    assert [one for one in PRIVATE if is_public(one)] == []
    assert [one for one in (*PUBLIC, *ALSO_PUBLIC) if not is_public(one)] == []


@pytest.mark.once
@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0/"),
        *("http://0177.0.0.1/", "http://localhost/", "http://[::1]:80/", "http://[::ffff:10.1.2.3]/"),
        *("http://169.254.169.254/latest/meta-data/", "https://10.0.0.1:8443/a?b"),
    ],
)
async def test_a_url_to_a_private_address_is_refused_when_saved_and_when_called(url: str):
    assert "private address; WEBHOOKS_PRIVATE=yes" in refusal_of(url)
    # The second where HTTP itself does not have such a spelling.
    with pytest.raises((AddressRefused, Unreachable)):
        await Client(private=False).post(url, b"{}", {}, SECONDS)


@pytest.mark.once
@pytest.mark.parametrize("host", ["localhost.", "LocalHost", "shop.localhost", "shop.localhost.:8443"])
async def test_names_of_this_machine_are_refused_whether_they_resolve_or_not(host: str, monkeypatch):
    def fails(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror

    monkeypatch.setattr("socket.getaddrinfo", fails)
    url = f"http://{host}/"
    assert "is a private address; WEBHOOKS_PRIVATE=yes" in refusal_of(url)
    with pytest.raises(AddressRefused):
        await Client(private=False).post(url, b"{}", {}, SECONDS)
    with pytest.raises(Unreachable):
        await Client(private=True).post(url, b"{}", {}, SECONDS)
    assert refusal_of("http://notlocalhost/") == ""


@pytest.mark.once
def test_a_name_that_does_not_resolve_yet_is_saved():
    assert refusal_of("https://nowhere.invalid/") == ""


@pytest.mark.once
@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "example.com",
            "//example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://",
            "https:///x",
        ),
        *("https://user:secret@example.com/", "https://user@example.com/", "http://example.com:99999/"),
        *("http://example.com:0/", "http://exa mple.com/", "http://example.com/\r\nX: y", "http://[::1/"),
        *(
            "http://example.com\\@10.0.0.1/",
            "http://[::1%25lo]/",
            "http://[fe80::1%eth0]/",
            "http://exampl%65.com/",
            "https://" + "a" * 64 + ".com/",
            "https://e.com/" + "a" * 2048,
            7,
        ),
    ],
)
def test_a_url_that_is_none_of_http_is_refused(url: Any):
    with pytest.raises(ValidationError):
        check_url(url)


@pytest.mark.once
def test_urls_of_all_kinds_of_hosts_are_taken():
    for url in (
        "https://example.com",
        "HTTP://shop:8000/a?b=c&d",
        "https://müller.example/",
        "http://[::1]:8/",
    ):
        check_url(url)


@pytest.mark.once
@pytest.mark.parametrize(
    "headers",
    [
        *(
            {name: "x"}
            for name in ("Host", "content-LENGTH", "Webhook-Id", "transfer-encoding", "Content-Type")
        ),
        *(
            {name: "x"}
            for name in ("", "a b", "a:", "é", "a\r\nb", "Proxy-Authorization", "Cookie", "a" * 101)
        ),
        *({"X-A": value} for value in ("a\r\nb", "a\nb", "é", " a", "a ", "\x00", "a" * 2001, 7, None)),
        *({"X-A": "1", "x-a": "2"}, {f"X-{n}": "1" for n in range(21)}, [], "X-A: b", None),
    ],
)
def test_headers_that_are_ours_or_no_headers_are_refused(headers: Any):
    with pytest.raises(ValidationError):
        check_headers(headers)
    check_headers({"Authorization": "Bearer 17", "X-Empty": "", "User-Agent": "a b"})


class Names:
    """In place of the resolver: each look-up of a name gets the next of its answers, the last one always."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, port: Any, **how: Any) -> list[Any]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        family = socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (one, 0)) for one in answer]


@pytest.mark.django_db(transaction=True)
async def test_a_name_that_changes_between_check_and_send_is_refused(
    start: Callable[[], Sending], receiver: Receiver, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    resolver = Names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    settings.WEBHOOKS_PRIVATE = False
    url = receiver.url("/ok", "rebinds.example")
    assert refusal_of(url) == ""
    webhook = await query(make, url)
    await query(write, webhook)
    start()
    await until(lambda: query(Delivery.objects.filter(status="failed").exists))

    assert receiver.calls == []
    error = (await query(Delivery.objects.get)).last_error
    assert error == "127.0.0.1 is a private address; WEBHOOKS_PRIVATE=yes would allow it"
    assert len(resolver.asked) == 9


@pytest.mark.once
async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch):
    Names(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    assert "10.0.0.1 is a private address" in refusal_of("http://mixed.example/")
    with pytest.raises(AddressRefused):
        await Client(private=False).post("http://mixed.example/", b"{}", {}, SECONDS)


@pytest.mark.once
async def test_the_address_that_was_checked_is_the_one_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """A second look-up would get an address where nobody listens."""
    resolver = Names(monkeypatch, ["127.0.0.1"], ["127.9.9.9"])
    checked: list[str] = []

    def passes(address: str) -> bool:
        checked.append(address)
        return True

    monkeypatch.setattr(names, "is_public", passes)
    client = Client(private=False)
    answer = await client.post(receiver.url("/ok", "once.example"), b"{}", {}, SECONDS)
    await client.close()

    assert answer.status == 204
    assert (resolver.asked, checked) == (["once.example"], ["127.0.0.1"])
    assert receiver.calls[0].headers["host"] == f"once.example:{receiver.port}"


@pytest.mark.once
async def test_the_next_address_is_tried_where_nobody_listens(
    client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    Names(monkeypatch, ["127.9.9.9", "127.0.0.1"])
    answer = await client.post(receiver.url("/ok", "two.example"), b"{}", {}, SECONDS)
    assert answer.status == 204


def certificate(name: str, folder: Path) -> Path:
    """A file with a key and a certificate that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.mark.once
async def test_tls_asks_for_the_name_and_checks_it(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = certificate("tls.example", tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    asked: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    Names(monkeypatch, ["127.0.0.1"])
    with Receiver(tls) as receiver:
        answer = await client.post(receiver.url("/ok", "tls.example"), b"{}", {}, SECONDS)
        assert (answer.status, asked) == (204, ["tls.example"])
        with pytest.raises(Unreachable, match="certificate"):
            await client.post(receiver.url("/ok", "other.example"), b"{}", {}, SECONDS)
        assert len(receiver.calls) == 1


@pytest.mark.once
async def test_an_answer_is_read_to_64_kib(client: Client, receiver: Receiver):
    answer = await client.post(receiver.url("/huge"), b"{}", {}, SECONDS)
    assert (answer.status, answer.is_whole) == (200, False)
    assert len(answer.body) == MAX_ANSWER_BYTES == 65536 < HUGE
    again = await client.post(receiver.url("/ok"), b"{}", {}, SECONDS)
    assert (again.status, again.is_whole) == (204, True)


@pytest.mark.once
async def test_no_cookie_is_kept(client: Client, receiver: Receiver):
    for _ in range(2):
        await client.post(receiver.url("/cookie"), b"{}", {}, SECONDS)
    assert all("cookie" not in call.headers for call in receiver.of("/cookie"))


@pytest.mark.once
async def test_a_second_answer_to_one_call_is_not_that_of_the_next(client: Client, receiver: Receiver):
    # Two webhooks of one host share its connections: neither may speak for the other.
    assert (await client.post(receiver.url("/twofold"), b"{}", {}, SECONDS)).status == 200
    assert (await client.post(receiver.url("/ok"), b"{}", {}, SECONDS)).status == 204


@pytest.mark.once
async def test_no_proxy_of_the_environment_is_used(
    client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """A proxy would connect to addresses that nobody has checked."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await client.post(receiver.url("/ok"), b"{}", {}, SECONDS)).status == 204


@pytest.mark.django_db(transaction=True)
async def test_no_log_has_a_secret_a_body_or_a_url(
    start: Callable[[], Sending], receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    """Not even the most talkative one; httpx would write a line with the URL for each call."""
    caplog.set_level(logging.DEBUG)
    added = {"Authorization": "Bearer CANARY-header"}
    for path in ("/ok?CANARY-url", "/fail?CANARY-url", "/gone", "/reset"):
        webhook = await query(make, receiver.url(path), headers=added)
        await query(write, webhook, body='{"data": "CANARY-body"}')
    start()
    await until(lambda: query(lambda: Delivery.objects.exclude(status="pending").count() == 4))
    assert receiver.calls
    lines = "\n".join(record.getMessage() for record in caplog.records if record.name != "django.db.backends")
    assert "CANARY" not in lines
    assert "whsec_" not in lines


@pytest.mark.once
async def test_a_name_server_that_is_silent_holds_up_nobody(
    client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """All that wait for one name share a look-up, which nobody can end."""
    asked, answer = Counter[str](), Event()

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        asked[host] += 1
        if host == "silent.example":
            answer.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = receiver.url("/ok", "silent.example")
    late = await asyncio.gather(
        *(client.post(url, b"{}", {}, 0.2) for _ in range(20)), return_exceptions=True
    )
    assert {type(one) for one in late} == {AnswerLate}
    assert (await client.post(receiver.url("/ok", "other.example"), b"{}", {}, SECONDS)).status == 204
    assert asked == {"silent.example": 1, "other.example": 1}
    answer.set()
    assert (await client.post(url, b"{}", {}, SECONDS)).status == 204


@pytest.mark.once
@pytest.mark.parametrize(
    "lines", ["NO HTTP CANARY", "HTTP/1.1 200 OK\r\nCANARY\x00: \x00", "HTTP/1.1 CANARY"]
)
async def test_an_answer_that_is_not_http_fails_without_a_word_of_it(client: Client, lines: str):
    """It may be a service that no operator was to read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(lines.encode() + b"\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(AnswerBroken) as failure:
            await client.post(url, b"{}", {}, SECONDS)
    assert "CANARY" not in str(failure.value)


@pytest.mark.once
async def test_a_header_that_http_has_not_fails_without_a_word_of_it(client: Client, receiver: Receiver):
    with pytest.raises(Unreachable) as failure:
        await client.post(receiver.url("/ok"), b"{}", {"x-a": "CANARY\r\nb: c"}, SECONDS)
    assert "CANARY" not in str(failure.value)
    assert receiver.calls == []
