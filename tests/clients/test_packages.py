"""Both clients build to packages that can be installed, and work then."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.clients.test_javascript import CLIENT as JAVASCRIPT
from tests.clients.test_javascript import run
from tests.clients.test_python import url_of
from tests.services.databases import REPOSITORY
from tests.services.javascript import node, packages
from tests.services.server import Server

pytestmark = pytest.mark.once

PYTHON = REPOSITORY / "clients" / "python"


def call(*command: str | Path, **options: object) -> str:
    """Run a program; its stdout."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stdout + result.stderr
    return str(result.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir"]
    call(sys.executable, "-m", "pip", "wheel", PYTHON, *options, folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of `npm pack`, unpacked as by `npm install`, beside the `ws` of older Nodes."""
    folder = tmp_path_factory.mktemp("npm")
    run(["npm", "pack", "--silent", "--pack-destination", str(folder)])
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "ws").symlink_to(JAVASCRIPT / "node_modules" / "ws")
    return (folder / "package").rename(modules / "switchboard-client")


def example(readme: Path, language: str, server: Server) -> str:
    """The first example of a README as it is printed, with the address and a key of a server."""
    text = readme.read_text().partition(f"```{language}\n")[2].partition("```")[0]
    assert "sb_..." in text
    return text.replace("ws://localhost:8000", server.ws_url).replace("sb_...", server.api_key)


def test_the_wheel_holds_the_module_its_types_and_its_command(wheel: Path) -> None:
    assert wheel.name == "switchboard_client-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read("switchboard_client-0.1.0.dist-info/entry_points.txt").decode()
    modules = {f"switchboard_client/{path.name}" for path in (PYTHON / "switchboard_client").glob("*.py")}
    assert modules | {"switchboard_client/py.typed"} <= names
    assert any(name.endswith("/LICENSE") for name in names)
    assert "switchboard=switchboard_client.cli:main" in entry_points.replace(" ", "")


def test_the_installed_wheel_asks_the_server(wheel: Path, one_worker: Server, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    import websockets

    path = f"{tmp_path / 'site'}:{Path(websockets.__file__).parents[1]}"
    python = tmp_path / "venv" / "bin" / "python"
    env = {
        "PYTHONPATH": path,
        "SWITCHBOARD_API_KEY": one_worker.api_key,
        "SWITCHBOARD_URL": url_of(one_worker),
    }
    output = call(python, "-m", "switchboard_client.cli", "request", '{"type": "whoami"}', env=env)
    printed = call(python, "-c", example(PYTHON / "README.md", "python", one_worker), env=env)

    assert json.loads(output)["scopes"] == ["admin", "manage", "publish", "read"]
    assert printed.splitlines()[:4] == ["token:abc1 hello", "0", "1", "2"]
    assert "'done': True" in printed


def test_the_npm_package_holds_module_bundle_and_types(tarball: Path) -> None:
    files = {str(path.relative_to(tarball)) for path in tarball.rglob("*") if path.is_file()}
    assert {
        "package.json",
        "README.md",
        "LICENSE",
        "src/index.js",
        "src/index.d.ts",
        "dist/switchboard.js",
    } <= files
    assert not [name for name in files if name.startswith(("test", "node_modules", "example"))]
    manifest = json.loads((tarball / "package.json").read_text())
    assert not manifest.get("dependencies")


def test_the_packed_module_and_bundle_ask_the_server(tarball: Path, one_worker: Server) -> None:
    script = """
        import { createRequire } from "node:module";
        import { readFileSync } from "node:fs";
        import { runInThisContext } from "node:vm";
        import { WebSocket } from "ws";
        const source = createRequire(import.meta.url).resolve("switchboard-client/bundle");
        const bundle = runInThisContext(`${readFileSync(source, "utf8")}; switchboard`);
        for (const { connect } of [await import("switchboard-client"), bundle]) {
          const connection = await connect(process.argv[2], { WebSocket });
          console.log((await connection.request({ type: "echo", n: 1 })).message.n);
          await connection.close();
        }
    """
    folder = tarball.parents[1]
    (folder / "both.mjs").write_text(script)
    (folder / "readme.mjs").write_text(example(tarball / "README.md", "js", one_worker))

    assert call("node", folder / "both.mjs", url_of(one_worker)).split() == ["1", "1"]
    printed = call("node", folder / "readme.mjs", timeout=60)
    assert printed.splitlines()[:4] == ["token:abc1 hello", "0", "1", "2"]
    assert "done: true" in printed


COMES_BACK = """
    import { createServer, connect as dial } from "node:net";
    import { connect, ConnectionClosed } from "switchboard-client";

    const server = new URL(process.argv[2]);
    const options = process.argv[3] === "ws" ? { WebSocket: (await import("ws")).WebSocket } : {};
    Math.random = () => 0; // no wait before an attempt

    const refusals = {
      unavailable: (socket) => socket.end("HTTP/1.1 503 Busy\\r\\nContent-Length: 0\\r\\n\\r\\n"),
      cut: (socket) => socket.destroy(),
      reset: (socket) => socket.resetAndDestroy(),
    };
    let left = []; // how the next attempts fail
    const sockets = new Set();
    const proxy = createServer((socket) => {
      socket.on("error", () => {});
      const refuse = refusals[left.shift()];
      if (refuse) return void socket.once("data", () => refuse(socket));
      sockets.add(socket);
      const behind = dial(server.port, server.hostname);
      behind.on("error", () => {});
      socket.on("close", () => behind.destroy());
      socket.pipe(behind).pipe(socket);
    });
    await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
    const url = `ws://127.0.0.1:${proxy.address().port}${server.pathname}`;

    for (const name of Object.keys(refusals)) {
      left = [name];
      const error = await connect(url, { ...options, reconnect: false }).catch((error) => error);
      console.log(name, error instanceof ConnectionClosed, error.code);
    }

    const connection = await connect(url, options);
    const back = new Promise((resolve) => connection.on("reconnect", resolve));
    left = Object.keys(refusals);
    sockets.forEach((socket) => socket.destroy());
    await back;
    console.log("left", left.length, (await connection.request({ type: "echo", n: 1 })).message.n);
    await connection.close();

    proxy.close();
    await new Promise((closed) => proxy.on("close", closed));
    const error = await connect(url, options).catch((error) => error);
    console.log("nobody", error instanceof ConnectionClosed, error.code);
"""


@pytest.mark.parametrize("version", [None, 22, 24], ids=["Node with ws", "Node 22", "Node 24"])
def test_the_packed_client_survives_attempts_that_fail(
    tarball: Path, one_worker: Server, version: int | None
) -> None:
    """An attempt that fails rejects, and while the connection comes back it is not the last one."""
    folder = tarball.parents[1]
    (folder / "back.mjs").write_text(COMES_BACK)
    (folder / "readme.mjs").write_text(example(tarball / "README.md", "js", one_worker))
    program = node(version) if version else "node"
    websocket = "own" if version else "ws"

    assert call(program, folder / "back.mjs", url_of(one_worker), websocket, timeout=60).splitlines() == [
        "unavailable true 1006",
        "cut true 1006",
        "reset true 1006",
        "left 0 1",
        "nobody true 1006",
    ]
    assert "token:abc1 hello" in call(program, folder / "readme.mjs", timeout=60)


def test_no_lock_file_names_a_registry() -> None:
    for folder in packages():
        assert '"resolved"' not in (folder / "package-lock.json").read_text()
