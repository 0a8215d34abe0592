"""The original's `websockets.conf`."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect as connect_async

from routing_app.tokens.conf import ConfigError, load
from switchboard_server.tls import self_signed
from tests.conftest import ServerFactory
from tests.services.ports import free_port
from tests.tokens.client import refusal
from tests.tokens.conftest import Connect

pytestmark = pytest.mark.once

# The full example of the original's documentation, word for word.
EXAMPLE = r"""{
Host: "localhost",
Port: "8000",
Origin: "*",
Responseheaders: "*",
# comment this string if you don't want to allow connection for a clients without preregistered tokens
# in case you leave this line each client connected without a token will obtain token "unregistered"
# until the client send sistem message "RegisterToken:<SomeToken>"
AllowUnregisteredClients: "yes",
# comment this line if you don't want to download registered tokens
# here is the example of url output
# {"abc1":true,"abc2":true,"abc3":true,"group\/item1":true,"group\/item2":true}
RegisteredTokensUrl: "http://saiset.co/registeredtokens.php",
}
"""
CLOSED = {"TOKENS_ALLOW_UNREGISTERED": "no"}
# As the original's repository ships it.
SHIPPED = """{
  Host: "0.0.0.0",
  Port: "8000",
  Origin: "*",
  Responseheaders: "*",
  AllowUnregisteredClients: "yes",
  AllowUnregisteredHttpClients: "no",
  RegisteredTokensUrl: "",
  AutoTLS: "yes"
}
"""


def read(folder: Path, text: str | bytes) -> tuple[dict[str, str], list[str]]:
    """(settings, warnings) for a file."""
    path = folder / "websockets.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    warnings: list[str] = []
    return load(str(path), warnings.append), warnings


def test_example_of_the_original_documentation(tmp_path: Path) -> None:
    found, warnings = read(tmp_path, EXAMPLE)

    assert found == {
        "HOST": "localhost",
        "PORT": "8000",
        "TOKENS_ORIGINS": "*",
        "TOKENS_ALLOW_UNREGISTERED": "yes",
        "TOKENS_URL": "http://saiset.co/registeredtokens.php",
    }
    assert warnings == ["websockets.conf line 5: Responseheaders: has no effect here"]


def test_shipped_file_of_the_original(tmp_path: Path) -> None:
    found, _ = read(tmp_path, SHIPPED)

    assert found == {
        "HOST": "0.0.0.0",
        "PORT": "8000",
        "TOKENS_ORIGINS": "*",
        "TOKENS_ALLOW_UNREGISTERED": "yes",
        "HTTPS": "yes",
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", {}),
        ('{\n\tHost:\t"localhost",\t# tab\n\tPort:\t8000,\n}', {"HOST": "localhost", "PORT": "8000"}),
        ("{Host: localhost, Port: 8000}", {"HOST": "localhost", "PORT": "8000"}),
        ('{"Host": "localhost", "Port": "8000"}', {"HOST": "localhost", "PORT": "8000"}),
        ("Host: localhost\nPort: 8000\n", {"HOST": "localhost", "PORT": "8000"}),
        ("\ufeff{Host: localhost}\r\n", {"HOST": "localhost"}),
        ('{Host: "::1"}', {"HOST": "::1"}),
        ('{Host: "", Port: , Origin: ~}', {}),
        ("{Port: 1}", {"PORT": "1"}),
        ("{Port: 65535}", {"PORT": "65535"}),
        (
            '{Origin: "https://a.example, http://b:80"}',
            {"TOKENS_ORIGINS": "https://a.example,http://b:80"},
        ),
        ("{Crtfile: /a/b.crt, Keyfile: c.key}", {"TLS_CERT": "/a/b.crt", "TLS_KEY": "c.key"}),
        ('{AutoTLS: "no"}', {}),
        ("{AutoTLS: yes}", {"HTTPS": "yes"}),
        ('{RegisteredTokensUrl: "file:///tokens.json"}', {"TOKENS_URL": "file:///tokens.json"}),
        ('{RegisteredTokensUrl: "https://a.example/t?x=1"}', {"TOKENS_URL": "https://a.example/t?x=1"}),
    ],
)
def test_file_is_read(tmp_path: Path, text: str, found: dict[str, str]) -> None:
    assert read(tmp_path, text) == (CLOSED | found, [])


@pytest.mark.parametrize(
    ("value", "setting"), [('"yes"', "yes"), ("yes", "yes"), ('"no"', "no"), ('""', "no"), ("", "no")]
)
def test_only_yes_lets_unregistered_tokens_in(tmp_path: Path, value: str, setting: str) -> None:
    found, warnings = read(tmp_path, f"{{AllowUnregisteredClients: {value}}}")

    assert (found, warnings) == ({"TOKENS_ALLOW_UNREGISTERED": setting}, [])


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("{\nhost: a}", "websockets.conf line 2: host: unknown key, ignored"),
        ("{Prot: 8000}", "websockets.conf line 1: Prot: unknown key, ignored"),
        ('{Prot: ""}', "websockets.conf line 1: Prot: unknown key, ignored"),
        ("{Responseheaders: x}", "websockets.conf line 1: Responseheaders: has no effect here"),
        (
            "{AllowUnregisteredClients: Yes}",
            "websockets.conf line 1: AllowUnregisteredClients: "
            "only \"yes\" lets unregistered tokens in; 'Yes' does not",
        ),
        (
            '{AllowUnregisteredHttpClients: "yes"}',
            "websockets.conf line 1: AllowUnregisteredHttpClients: HTTP clients are not served here",
        ),
        ("{Keyfile: a.key}", "websockets.conf: Keyfile has no effect without Crtfile"),
    ],
)
def test_settings_without_effect_are_named(tmp_path: Path, text: str, warning: str) -> None:
    found, warnings = read(tmp_path, text)

    assert warnings == [warning]
    assert found["TOKENS_ALLOW_UNREGISTERED"] == "no"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\nHost: "a",\nPort: "abc"}', "line 3: Port: expected a number from 1 to 65535, but got 'abc'"),
        ("{Port: 0}", "line 1: Port: expected a number from 1 to 65535, but got '0'"),
        ("{Port: 65536}", "line 1: Port: expected a number from 1 to 65535, but got '65536'"),
        ("{Port: 1" + "0" * 5000 + "}", "line 1: Port: expected a number from 1 to 65535"),
        ("{Port: [1]}", "line 1: Port: expected one value"),
        ("{Host: a b}", "line 1: Host: expected a host name or an address, but got 'a b'"),
        ('{Host: "http://a"}', "line 1: Host: expected a host name or an address, but got 'http://a'"),
        ("{Origin: a.example}", 'line 1: Origin: expected "*" or origins such as "https://example.com"'),
        (
            "{RegisteredTokensUrl: a.json}",
            "line 1: RegisteredTokensUrl: expected a URL of http, https or file",
        ),
        (
            "{RegisteredTokensUrl: ftp://a/b}",
            "line 1: RegisteredTokensUrl: expected a URL of http, https or file",
        ),
        ("{Host: a,\nHost: b}", "line 2: Host: given twice"),
        ('{\nHost: "a"\nPort: "1"}', "line 3: expected ',' or '}', but got"),
        ("{\n\nHost: 'a}", "line 3: found unexpected end of stream"),
        ("{[a]: b}", "line 1: expected a key"),
        ("", 'expected { Key: "value", ... }'),
        ("# only a comment", 'expected { Key: "value", ... }'),
        ("[1]", 'expected { Key: "value", ... }'),
        ("{a: 1}\n---\n{}", "but found another document"),
        ("{a: \x00}", "holds characters that no configuration has"),
        (b"{Host: \xff}", "not UTF-8"),
        ("{a: " + "[" * 1500, "nested too deep"),
        ('{Host: "a\\0b"}', "line 1: holds characters that no configuration has"),
        ('{Host: "\\ud800"}', "line 1: holds characters that no configuration has"),
        ('{Host: "\\U99999999"}', "holds characters that no configuration has"),
    ],
)
def test_bad_value_is_an_error_with_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)

    assert str(error.value).startswith("websockets.conf")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "websockets.conf")


@given(st.one_of(st.text(), st.binary(), st.text("{}[]:,#\"'&*!|>%@` \t\n\x00abHostPr")))
def test_no_file_raises_anything_but_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    with suppress(ConfigError):
        load(path, lambda warning: None)


@given(st.dictionaries(st.sampled_from(["Host", "Crtfile", "Keyfile"]), st.text("abc./-", min_size=1)))
def test_plain_values_survive(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    values = {key: value.replace("/", "") or "x" for key, value in values.items()}
    path = tmp_path_factory.getbasetemp() / "plain.conf"
    lines = [f"{key}: {json.dumps(value)},\n" for key, value in values.items()]
    path.write_text("{\n" + "".join(lines) + "}")
    names = {"Host": "HOST", "Crtfile": "TLS_CERT", "Keyfile": "TLS_KEY"}

    assert load(path, lambda warning: None) == CLOSED | {names[key]: value for key, value in values.items()}


# --- with the server -------------------------------------------------------------------------------------


def test_serve_takes_the_file_unmodified(server: ServerFactory, connect: Connect, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "websockets.conf"
    url = (tmp_path / "tokens.json").as_uri()
    text = EXAMPLE.replace('"8000"', f'"{port}"').replace("http://saiset.co/registeredtokens.php", url)
    path.write_text(text.replace("AllowUnregisteredClients", "# AllowUnregisteredClients") + "# end\n")
    (tmp_path / "tokens.json").write_text(r'{"abc1":true,"abc2":false,"group\/item1":true}')
    broker = server("serve", "--config", str(path), PORT=str(port), HOST="")

    assert [refusal(broker, token) for token in (None, "abc2", "abc3")] == [403] * 3
    client = connect(broker, "group/item1", origin="https://any.example")
    client.send("group/|x")
    assert client.received() == ["x"]
    assert "websockets.conf line 5: Responseheaders: has no effect here" in broker.log_text()


async def test_decision_32_crtfile_and_keyfile_speak_tls(server: ServerFactory, tmp_path: Path) -> None:
    """By the client of one thread: reading and writing TLS in two threads at once hangs now and then."""
    cert, key = self_signed(tmp_path, ["127.0.0.1"])
    path = tmp_path / "websockets.conf"
    path.write_text(f'{{AllowUnregisteredClients: "yes", Crtfile: "{cert}", Keyfile: "{key}"}}')
    broker = server("serve", "--config", str(path))
    url = broker.ws_url.replace("ws:", "wss:") + "/ws?RegisterToken=abc1"

    async with connect_async(url, ssl=ssl.create_default_context(cafile=str(cert))) as client:
        await client.send("abc1|x")

        assert await asyncio.wait_for(client.recv(), 60) == "x"


def test_serve_tells_a_bad_value_in_one_line(server: ServerFactory, tmp_path: Path) -> None:
    path = tmp_path / "websockets.conf"
    path.write_text('{\nPort: "eighty"\n}')
    broker = server("serve", "--config", str(path), start=False)

    broker.launch()

    assert broker.process.wait() != 0
    assert broker.log_text().strip().splitlines() == [
        "switchboard: --config websockets.conf line 2: Port: "
        "expected a number from 1 to 65535, but got 'eighty'"
    ]
