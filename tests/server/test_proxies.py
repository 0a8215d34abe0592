"""The files of `deploy/` for the proxies of docs/proxies.md in front of a broker: what comes through them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from functools import partial

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from tests.services.databases import REPOSITORY, Databases
from tests.services.ports import LOOPBACK
from tests.services.proxies import KINDS, Proxy
from tests.services.server import Server
from tests.services.waiting import until, until_equal

pytestmark = pytest.mark.once

CLIENT = "127.0.0.2"
"""The address that clients come from: it is not the proxy's."""
SILENT = {"STREAM_COMMENT_SECONDS": "3600"}
"""Nothing is written to a stream by which a proxy could notice that its client has left."""
FORGED = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = databases.create()
    options = {"DATABASE_URL": url, "TRUSTED_PROXIES": LOOPBACK, **SILENT}
    server = Server(tmp_path_factory.mktemp("behind"), options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)


@pytest.fixture(scope="module", params=KINDS)
def proxy(
    request: pytest.FixtureRequest, broker: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    kind = request.param
    if KINDS[kind].find() is None:
        pytest.skip(f"{kind.upper()} IN FRONT OF THE SERVER IS NOT TESTED: `make test` could not install it")
    with Proxy(kind, tmp_path_factory.mktemp(kind), broker.port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an address of its own, which says that it has another one."""
    transport = httpx.AsyncHTTPTransport(verify=proxy.tls, local_address=CLIENT)
    async with httpx.AsyncClient(
        transport=transport, base_url=proxy.url, headers=FORGED, timeout=60, follow_redirects=False
    ) as client:
        yield client


async def connected(client: httpx.AsyncClient, broker: Server, protocol: str) -> list[dict[str, str]]:
    """The connections of a protocol, as the broker lists them."""
    answer = await client.get(f"/api/clients/?protocol={protocol}", headers={"X-API-Key": broker.api_key})
    return list(answer.json()["results"])


async def test_a_websocket_and_the_address_of_its_client(
    proxy: Proxy, client: httpx.AsyncClient, broker: Server
) -> None:
    url = f"{proxy.ws_url}/ws?RegisterToken=proxied"
    async with connect(
        url, ssl=proxy.tls, host=LOOPBACK, local_addr=(CLIENT, 0), additional_headers=FORGED
    ) as socket:
        await socket.send("proxied|" + "x" * 60_000)
        assert await socket.recv() == "x" * 60_000
        # The row is written beside the socket: on a busy machine it follows the first frames.
        [listed] = await until(lambda: connected(client, broker, "tokens"))
        assert listed["peer"].startswith(CLIENT)

    await until_equal([], partial(connected, client, broker, "tokens"))


async def test_polling_waits_and_gets_what_comes(client: httpx.AsyncClient) -> None:
    opened = await client.get("/socket.io/?EIO=4&transport=polling")
    path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.text[1:])['sid']}"
    await client.post(path, content="40/bus,")
    assert (await client.get(path)).text.startswith("40/bus,")
    await client.post(path, content='42/bus,0["JOIN","{\\"room\\": \\"r1\\", \\"name\\": \\"bob\\"}"]')
    assert (await client.get(path)).text == "43/bus,0[]"

    waiting = asyncio.create_task(client.get(path))
    assert (await client.post("/bus-message/r1", json={"text": "through"})).text == "OK"
    assert '"through"' in (await waiting).text
    await client.post(path, content="1")


async def test_an_event_stream_comes_at_once_and_ends_with_its_client(
    client: httpx.AsyncClient, broker: Server
) -> None:
    key = {"X-API-Key": broker.api_key}
    async with client.stream("GET", "/api/stream?address=token:streamed", headers=key) as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        [listed] = await until(lambda: connected(client, broker, "stream"))
        assert listed["peer"].startswith(CLIENT)
        message = {"addresses": ["token:streamed"], "message": "through"}
        answer = await client.post("/api/publish", json=message, headers=key)
        assert answer.json()["delivered_to"] == 1
        while '"through"' not in await anext(lines):
            pass

    await until_equal([], partial(connected, client, broker, "stream"))


async def test_tls_ends_at_the_proxy_and_the_broker_knows(client: httpx.AsyncClient) -> None:
    answer = await client.get("/admin/login/")

    assert answer.status_code == 200
    assert "; Secure" in answer.headers["set-cookie"]


async def test_metrics_are_for_operators_only(
    proxy: Proxy, client: httpx.AsyncClient, broker: Server
) -> None:
    key = {"X-API-Key": broker.api_key}
    async with httpx.AsyncClient(verify=proxy.tls, base_url=proxy.url, headers=key, timeout=60) as operator:
        assert "switchboard_build_info" in (await operator.get("/metrics")).text

    assert (await client.get("/metrics", headers=key)).status_code == 403


async def test_a_body_that_is_too_large_is_answered_by_the_broker(
    client: httpx.AsyncClient, broker: Server
) -> None:
    answer = await client.post(
        "/api/publish", content=b"x" * (3 * 2**20), headers={"X-API-Key": broker.api_key}
    )

    assert answer.status_code == 413
    assert "detail" in answer.json()


def test_the_file_of_traefik_names_only_what_it_defines() -> None:
    """Traefik itself runs only where its package can be had."""
    http = yaml.safe_load((REPOSITORY / "deploy/traefik.yml").read_text(encoding="utf-8"))["http"]

    assert {router["service"] for router in http["routers"].values()} == set(http["services"])
    assert {name for router in http["routers"].values() for name in router.get("middlewares", ())} == set(
        http["middlewares"]
    )
    assert http["services"]["switchboard"]["loadBalancer"]["servers"] == [{"url": "http://127.0.0.1:8000"}]
