"""What the blocks of some pages need around them, and why the others are not run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Step = tuple[str, str]
"""A language, and text in it."""

DJANGO: Final = "import django\n\ndjango.setup()\n"
SOCKET_IO: Final = 'import { io } from "socket.io-client";\n'
CLIENT: Final = """
import { connect } from "switchboard-client";
const connection = await connect("ws://localhost:8000/connection", { key: "sb_…" });
"""
CUT: Final = """
curl localhost:8000/api/disconnect -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \
     -d '{"addresses": ["room:bus/lobby"], "code": 4200}'
"""
KEPT: Final = """
curl localhost:8000/api/rules/ -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \
     -d '{"pattern": "room:bus/lobby", "history_size": 10, "history_seconds": 60}'
"""
NOBODY: Final = 'print("recovering")\nawait connection.closed()\n'
LISTENING: Final = """
const socket = new WebSocket("ws://localhost:8000/ws?RegisterToken=abc1");
socket.onopen = () => console.log("open");
socket.onmessage = (event) => console.log(event.data);
"""
NAMED: Final = """
import asyncio
from switchboard_client import connect
connection = await connect("ws://localhost:8000/connection", key="sb_…")
"""
PACKAGES: Final = "tests/clients/test_packages.py"
EXPORTED: Final = (
    "tests/exports/test_commands.py::"
    "test_the_example_of_the_document_goes_into_a_fresh_database_and_out_again_byte_by_byte"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A block that is a part of a program: what stands before and behind it, and what is done then."""

    before: str = ""
    after: str = ""
    then: tuple[Step, ...] = ()


PARTS: Final[Mapping[str, Mapping[str, Part]]] = {
    "clients/js/README.md": {
        "/my/token": Part(
            'import { connect } from "switchboard-client";\n'
            'globalThis.fetch = async () => new Response("<ACCESS TOKEN>");\n',
            'console.log("I am", (await connection.request({ type: "whoami" })).message.name);\n',
            (("text", "I am anna"),),
        ),
        "what was missed comes": Part(
            CLIENT,
            'console.log("recovering");\n',
            (("text", "recovering"), ("sh", CUT), ("text", "what was missed comes, up to 0")),
        ),
    },
    "clients/python/README.md": {
        "https://shop.example/token": Part(
            "from switchboard_client import connect\n"
            "class Response:\n"
            "    async def __aenter__(self): return self\n"
            "    async def __aexit__(self, *error): pass\n"
            '    async def text(self): return "<ACCESS TOKEN>"\n'
            "class session:\n"
            "    post = staticmethod(lambda url: Response())\n",
            'print("I am", (await connection.request({"type": "whoami"}))["name"])\n',
            (("text", "I am anna"),),
        ),
        "what was missed comes": Part(
            NAMED, NOBODY, (("text", "recovering"), ("sh", CUT), ("text", "what was missed comes, up to 0"))
        ),
    },
    "docs/access.md": {
        'io("https://example.com/layout", { auth': Part(
            'import { io as open } from "socket.io-client";\n'
            'import { WebSocket as Socket } from "ws";\n'
            'const token = "<ACCESS TOKEN>";\n'
            "const io = (url, options) =>\n"
            '  open(url, options).on("connect", () => console.log("in by", Object.keys(options)[0]));\n'
            "class WebSocket extends Socket {\n"
            "  constructor(url) {\n"
            "    super(url);\n"
            '    this.on("open", () => console.log("in by the URL"));\n'
            "  }\n"
            "}\n",
            then=(("text", "in by auth\nin by query\nin by the URL"),),
        ),
    },
    "docs/scheduled.md": {
        "import publish_later": Part(
            DJANGO,
            'print("it waits")\n',
            (
                ("text", "it waits"),
                ("sh", 'curl localhost:8000/api/scheduled/ -H "X-API-Key: $KEY"'),
                ("text", '"addresses":["token:abc1"]'),
            ),
        ),
    },
    "docs/transactional.md": {
        "import publish_on_commit": Part(
            f"{DJANGO}class order:\n    pk = 17\n    save = staticmethod(lambda: None)\n\n",
            then=(("text", '{"order":17}'),),
        ),
    },
    "examples/pusher/README.md": {
        "new Pusher": Part(
            'import Pusher from "pusher-js";\n',
            'const succeeded = "pusher:subscription_succeeded";\n'
            'pusher.channel("news").bind(succeeded, () => console.log("subscribed"));\n',
            (("text", "subscribed"),),
        ),
    },
    "routing_app/requests/README.md": {
        '@on_request("steps")': Part(
            then=(
                (
                    "js",
                    f"{CLIENT}"
                    'connection.on("request", "sure?", (question) => question.reply({ yes: true }));\n'
                    'const request = connection.request({ type: "steps", to: 2 });\n'
                    'for await (const { message } of request) console.log("step", message.n);\n'
                    'console.log("done", (await request).message.done);\n'
                    'await connection.send({ type: "note" });\n',
                ),
                ("text", "step 0\nstep 1\ndone true"),
            ),
        ),
    },
    "routing_app/rooms/README.md": {
        "1.x and 2.x: { query": Part(
            f'{SOCKET_IO}const token = "<ACCESS TOKEN>";\n',
            'socket.on("connect", () => console.log("let in"));\n',
            (("text", "let in"),),
        ),
        "socket.recovered": Part(
            f'{SOCKET_IO}const socket = io("http://localhost:8000/layout");\n',
            then=(("text", "a new session: JOIN again"),),
        ),
        'socket.on("REQUEST"': Part(
            f'{SOCKET_IO}const buffer = Buffer.from("PNG");\nconst socket = io("http://localhost:8000/layout");\n',
            'socket.emit("JOIN", { room: "asked", name: "asked" }, () => console.log("asked is in"));\n',
            (
                ("text", "asked is in"),
                (
                    "sh",
                    'ID=$(curl localhost:8000/api/clients/?protocol=rooms -H "X-API-Key: $KEY"'
                    """ | sed 's/.*"id":"\\([^"]*\\)".*"asked".*/\\1/')\n"""
                    'curl localhost:8000/api/connections/$ID/request -H "X-API-Key: $KEY"'
                    """ --json '{"message": {}, "timeout": 10}'""",
                ),
                ("text", '{"volume":11},{"_base64":"UE5H"}'),
            ),
        ),
    },
    "routing_app/stream/README.md": {
        "curl -N": Part(
            then=(
                (
                    "sh",
                    'curl localhost:8000/api/publish -H "X-API-Key: $KEY" --json'
                    """ '{"addresses": ["token:abc1"], "message": "Hello"}'""",
                ),
            )
        ),
    },
    "sessions_app/README.md": {
        "new WebSocket(endpoint)": Part(
            'const endpoint = "<ENDPOINT>";\n', then=(("text", '{"action":"OK"}'),)
        ),
    },
}
"""By page, and by words that the block holds."""

GIVEN: Final[Mapping[str, tuple[Step, ...]]] = {
    "clients/js/README.md": (("sh", KEPT),),
    "clients/python/README.md": (("sh", KEPT),),
    "docs/transactional.md": (("js", LISTENING), ("text", "open")),
    "routing_app/stream/README.md": (("sh", KEPT.replace("room:bus/lobby", "token:abc1")),),
}
"""What is there before a page begins."""

EMBEDDED: Final = "tests/embedding/project.py::after"
ELSEWHERE: Final[Mapping[str, Mapping[str, str]]] = {
    "README.md": {
        "## Try the tokens protocol": "tests/project/test_examples.py::test_the_tokens_protocol",
        "## Try the sessions protocol": "tests/project/test_examples.py::test_the_sessions_protocol",
        "## Try the rooms protocol": "tests/project/test_examples.py::test_the_rooms_protocol",
        "## Try the events protocol": "tests/project/test_examples.py::test_the_events_protocol",
        "## Try the requests protocol": "tests/project/test_examples.py::test_the_requests_protocol",
        "## Try the stream protocol": "tests/project/test_examples.py::test_the_stream_protocol",
    },
    "clients/js/README.md": {
        'type: "count", to: 3': f"{PACKAGES}::test_the_packed_module_and_bundle_ask_the_server",
    },
    "clients/python/README.md": {
        '"type": "count", "to": 3': f"{PACKAGES}::test_the_installed_wheel_asks_the_server",
    },
    "docs/doctor.md": {
        "manage.py doctor --url": "tests/doctor/test_command.py::"
        "test_the_address_of_a_client_arrives_where_the_proxy_is_trusted",
        "ok       start": "tests/doctor/test_checks.py::"
        "test_the_example_of_the_document_has_lines_as_the_command_prints_them",
        '"bound_by"': "tests/doctor/test_command.py::test_real_services_are_read",
    },
    "docs/embedding.md": {
        "import switchboard": EMBEDDED,
        "createapikey": EMBEDDED,
        "import publish_on_commit": EMBEDDED,
        "INSTALLED_APPS +=": EMBEDDED,
        "ImproperlyConfigured": "tests/embedding/test_labels.py::"
        "test_both_apps_are_named_wherever_the_project_has_its_own",
        "ALTER TABLE": "tests/embedding/test_labels.py::test_an_app_with_a_table_gets_another_label",
    },
    "docs/export.md": {
        "export --output": EXPORTED,
        "switchboard: 1": EXPORTED,
        "created rules": EXPORTED,
        "CommandError": "tests/exports/test_commands.py::"
        "test_an_error_is_told_with_its_place_and_nothing_is_changed",
    },
    "docs/faults.md": {
        "faults.run": "tests/faults/test_attack.py::test_no_promise_is_broken_under_faults",
        "tests.fuzz.fuzz": "tests/fuzz/test_soak.py::test_no_input_breaks_a_promise",
    },
    "docs/hooks.md": {
        "*": "tests/hooks/test_document.py::test_the_backend_of_the_document_decides",
    },
    "docs/image.md": {"*": "tests/deploy/test_page.py::test_the_commands_are_those_that_the_files_are_for"},
    "docs/install.md": {"*": "tests/project/test_package.py::test_every_command_of_the_page_runs"},
    "docs/metrics.md": {"*": "tests/metrics/test_deploy.py::test_promtool_reads_the_job_of_the_page"},
    "docs/proxies.md": {"*": "tests/server/test_proxies.py::broker"},
    "docs/scale.md": {
        "sentinel://": "tests/documents/test_settings.py::test_the_sentinels_of_the_page_on_scaling_are_read"
    },
    "docs/security.md": {
        "*": "tests/documents/test_settings.py::test_the_settings_of_the_page_on_security_are_safe"
    },
    "docs/transactional.md": {
        "NOTIFY": "tests/transactional/test_sending.py::test_any_program_may_insert_rows"
    },
    "docs/upgrades.md": {
        "waits for the lock": "tests/upgrades/test_table_changes.py::"
        "test_a_table_that_is_in_use_is_tried_again_and_the_user_named",
    },
    "docs/webhooks.md": {
        "createServer": "tests/interop/test_webhooks.py::"
        "test_the_receiver_of_the_document_takes_our_calls_and_no_others",
    },
}
"""The test that runs a block, or compares it with its subject: by page, and by words that the block holds."""

NOT_RUN: Final[Mapping[str, Mapping[str, str]]] = {
    "README.md": {
        "browsers, players": "it is a drawing",
        "bin/daphne": "they go on; tests of every protocol start servers so (`tests/services/server.py`)",
    },
    "CONTRIBUTING.md": {"def test_two_workers": "it is the outline of a test; `connect` is any client"},
    "docs/architecture.md": {"socket → wire": "it is a drawing"},
    "docs/doctor.md": {"sysctl --system": "it would change the kernel of the machine that tests"},
}
"""Why nothing runs a block: by page, and by words that the block holds."""

BEFORE: Final = "Before"
"""How the title of code begins that is another server's, or of an app that is not installed here."""
BEFORE_IT_IS_RUN: Final = "Before it is run"
"""How that of the latter begins."""
