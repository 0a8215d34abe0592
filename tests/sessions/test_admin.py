"""The admin and the commands of session control."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from io import StringIO
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import jwt
import pytest
from django.core.management import CommandError, call_command

from tests.services.databases import ADMIN_PASSWORD
from tests.sessions.conftest import Broker, Customer, Play
from tests.sessions.http import Http


class Operator:
    """A staff session in the Django admin, as a browser keeps it."""

    def __init__(self, broker: Broker) -> None:
        self._url = broker.server.url
        self._cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._cookies))
        self.get("/admin/login/")
        self.post("/admin/login/", username="admin", password=ADMIN_PASSWORD, next="/admin/")

    def get(self, path: str) -> str:
        with self._opener.open(self._url + path, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path: str, **fields: str | list[str]) -> str:
        [token] = [cookie.value for cookie in self._cookies if cookie.name == "csrftoken"]
        data = urlencode({**fields, "csrfmiddlewaretoken": token}, doseq=True).encode()
        with self._opener.open(Request(self._url + path, data), timeout=60) as answer:
            return answer.read().decode()


class Form(HTMLParser):
    """The fields that a browser would send of a page's form, as the server has filled it in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and "selected" in given:
            self.fields[self._select] = given["value"]
        elif tag == "textarea" or (tag == "input" and given.get("type") in ("text", "number", "hidden")):
            self.fields[name] = given.get("value", "")
        elif tag == "input" and "checked" in given:
            self.fields[name] = "on"


@pytest.fixture(scope="module")
def operator(broker: Broker) -> Operator:
    return Operator(broker)


async def test_live_sessions_show_player_asset_and_device(
    operator: Operator, customer: Customer, play: Play
) -> None:
    created = await customer.create(sessionName="Living room", deviceName="Samsung", deviceType="tv")
    await play(created)

    page = operator.get(f"/admin/sessions_app/session/?q={customer.id}")

    assert customer.id in page
    assert created.json["sessionId"] in page
    for text in ("Living room", "Samsung tv", "film", "demo", "Last seen", "Worker", "Since"):
        assert text.lower() in page.lower()


async def test_ending_selected_sessions_stops_their_players(
    operator: Operator, customer: Customer, play: Play
) -> None:
    created, other = await customer.create(), await customer.create(offerId="series")
    player, spared = await play(created), await play(other)

    page = operator.post(
        "/admin/sessions_app/session/",
        action="end_selected",
        _selected_action=[created.json["sessionId"]],
    )

    assert "1 sessions ended" in page
    assert await player.receives() == {"action": "TAKE_OVER", "sessionName": "operator"}
    assert await player.receives() == ("closed", 4003)
    assert await spared.requested() == {"action": "OK"}
    assert customer.events("killed") == ["killed"]
    assert customer.rows() == 1


async def test_history_of_a_customer_is_complete_and_cannot_be_changed(
    operator: Operator, customer: Customer, broker: Broker
) -> None:
    created = await customer.create()
    await customer.http.request("DELETE", f"/sessions/{created.json['sessionId']}", token=customer.token)
    [[account]] = broker.sql("SELECT id FROM sessions_app_account WHERE customer = %s", customer.id)

    page = operator.get(f"/admin/sessions_app/account/{account}/change/")
    [link] = re.findall(r'href="(/admin/sessions_app/sessionevent/[^"]+)"', page)
    history = operator.get(link)

    assert 'name="_save"' not in page
    assert history.count(created.json["sessionId"]) == 2, "created, finished"
    assert "sessionevent/add/" not in history
    assert customer.id in operator.get(f"/admin/sessions_app/account/?q={customer.id}")


def test_secret_is_never_shown_again(operator: Operator, broker: Broker) -> None:
    [[publisher]] = broker.sql("SELECT id FROM sessions_app_publisher WHERE name = 'demo'")

    page = operator.get(f"/admin/sessions_app/publisher/{publisher}/change/")

    assert broker.kid in page
    assert broker.secret not in page


async def test_operator_adds_a_limit_and_the_key_stays(
    operator: Operator, customer: Customer, broker: Broker
) -> None:
    [[publisher]] = broker.sql("SELECT id FROM sessions_app_publisher WHERE name = 'demo'")
    path = f"/admin/sessions_app/publisher/{publisher}/change/"
    fields = Form(operator.get(path)).fields
    number = int(fields["limits-TOTAL_FORMS"])
    limit = {"scope": "tag", "value": "", "maximum": "1", "policy": "block", "customer": customer.id}
    new = {f"limits-{number}-{name}": value for name, value in limit.items()}

    page = operator.post(path, **{**fields, **new, "limits-TOTAL_FORMS": str(number + 1)})

    assert "was changed successfully" in page
    assert [(await customer.create(tag="live")).status for _ in range(2)] == [200, 409]
    [[secret]] = broker.sql("SELECT material FROM sessions_app_publisherkey WHERE kid = %s", broker.kid)
    assert secret == broker.secret, "nothing was typed, so nothing changes"


@pytest.mark.parametrize("page", ["publisher", "account", "session", "sessionevent"])
def test_every_list_opens(operator: Operator, page: str) -> None:
    assert 'id="changelist"' in operator.get(f"/admin/sessions_app/{page}/")


# --- commands --------------------------------------------------------------------------------------------


async def test_commands_make_a_publisher_and_a_token_that_plays(broker: Broker, http: Http) -> None:
    printed = broker.server.manage("createpublisher", "films")
    secret = printed.split()[-1]
    token = broker.server.manage("gentoken", "--publisher", "films", "--customer", "carol", "--ttl", "900")

    reply = await http.request("POST", "/sessions", {"tag": "live"}, token.strip())
    checked = broker.server.manage("checktoken", token.strip())

    assert reply.status == 200
    assert len(secret) >= 32
    kind, *parts = checked.splitlines()
    assert kind == "kind: customer token"
    assert [line.rpartition(": ")[2] for line in parts] == ["ok"] * 8
    with pytest.raises(subprocess.CalledProcessError) as again:
        broker.server.manage("createpublisher", "films")
    assert "already exists" in again.value.stderr


def _printed(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def _refusal(*arguments: str) -> str:
    output = StringIO()
    with pytest.raises(CommandError) as refused:
        call_command(*arguments, stdout=output)
    return f"{output.getvalue()}\n{refused.value}"


def test_checktoken_names_each_wrong_claim(db: None) -> None:
    secret = _printed("createpublisher", "films").split()[-1]
    claims = {"customerId": "alice", "publisherId": "films", "exp": 1, "aud": "nobody"}
    token = jwt.encode(claims, secret, "HS256")

    output = _refusal("checktoken", token)

    assert re.search(r"^exp: .*expired", output, re.MULTILINE)
    assert re.search(r"^aud: .+", output, re.MULTILINE)
    assert "iss: ok" in output
    assert "signature, alg, kid: ok" in output
    assert token not in output


def test_checktoken_names_an_unreadable_token(db: None) -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"publisherId": "x", "customerId": "y"}).encode()).decode()

    assert "not a JWT" in _refusal("checktoken", "nonsense")
    assert "no publisher 'x'" in _refusal("checktoken", f"e30.{payload.rstrip('=')}.x")


def test_gentoken_names_missing_arguments(db: None) -> None:
    assert "no publisher nobody" in _refusal("gentoken", "--publisher", "nobody", "--customer", "x")


def test_first_run_makes_the_demo_publisher_with_two_per_offer(broker: Broker) -> None:
    limits = broker.sql("SELECT scope, value, maximum, policy FROM sessions_app_limit WHERE customer = ''")

    assert [tuple(limit) for limit in limits] == [("offer", "", 2, "ask")]
    assert f"its secret:  {broker.secret}" in broker.server.log_text()
