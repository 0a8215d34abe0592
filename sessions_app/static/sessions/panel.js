// Session control in "Try it": two players of one customer, and what a limit makes of them.

import { element } from "../console/js/try/dom.js";
import { javascript, lines, python } from "../console/js/try/literals.js";
import { definePanel } from "../console/js/try/panel.js";
import { HTTP, parsed } from "../console/js/try/server.js";
import { httpSnippets } from "../console/js/try/snippets.js";
import { demoPublisher, maySign, NotMade } from "./signing.js";

const PUBLISHER = "try-it";
const CUSTOMER = { variable: "CUSTOMER_TOKEN", text: "<CUSTOMER TOKEN>" };
const PLAY = { action: "REQUESTED" };
const SESSION = { name: "id", label: "Session id", hint: "Filled in by the last session of this page." };

// Of each client: the id of its session, and those that a takeover would end.
const sessions = new Map();
let sign = null;

const wanted = ({ name, offer }) => ({ sessionName: name, offerId: offer });
const asking = (values, path = "/sessions", more = {}) => ({
  method: "POST",
  path,
  bearer: values.token,
  body: { ...wanted(values), ...more },
});

// --- the ways of a player -----------------------------------------------------------------------------

async function ask(values, client, panel, path = "/sessions", more = {}) {
  const answer = await panel.http(asking(values, path, more), client.index);
  const { json, status } = answer;
  offerTakeover(client, panel, []);
  if (status === 200 && json?.endpoint) return begin(json, client, panel);
  if (status === 409)
    offerTakeover(client, panel, json.details.takeOverEnabled ? json.details.activeSessions : []);
  client.say(
    status === 401 && !values.token ? "A player needs a customer token: see above." : said(answer),
    true,
  );
  return null;
}

const said = ({ status, json, text }) => `${status}: ${json?.message ?? text}`;

// The endpoint at this page's own host: SESSIONS_PUBLIC_URL may name another one.
function begin({ endpoint, sessionId }, client, panel) {
  sessions.set(client, sessionId);
  for (const act of ["DELETE /sessions", "heartbeat", "takeover"]) panel.suggest(act, { id: sessionId });
  return `/${new URL(endpoint).search}`;
}

function offerTakeover(client, panel, active) {
  const card = panel.cards[client.index];
  card.extra.replaceChildren(
    ...active.map(({ sessionId, name }) =>
      element(
        "button",
        { type: "button", class: "quiet", onclick: () => takeOver(client, panel, sessionId) },
        `Take over from ${name || "a session without a name"}`,
      ),
    ),
  );
}

async function takeOver(client, panel, sessionId) {
  const values = panel.connectionOf(client.index, "values");
  const path = await ask(values, client, panel, "/takeover", { sessionId });
  if (path) panel.open(client.index, path, values);
}

const WORDS = {
  OK: "plays",
  EXPIRED: "the session is over",
  TERMINATE: "was told to stop",
  TAKE_OVER: "another session took the slot",
};

function onframe(text, client, panel) {
  const action = parsed(text)?.action;
  if (action === "PING" && panel.shared.peek().pong) client.send(JSON.stringify({ action: "PONG" }));
  if (WORDS[action]) client.say(`${WORDS[action]} · session ${sessions.get(client) ?? ""}`);
}

// --- the publisher ------------------------------------------------------------------------------------

function setUp(panel) {
  const state = element("p", { class: "try-note", role: "status" });
  const button = element("button", { type: "button" }, "Make a demo publisher");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      sign ??= await demoPublisher(PUBLISHER, `page-${document.body.dataset.user}`);
      panel.shared.set({ token: await sign(panel.shared.peek().customer) });
      state.textContent = `“${PUBLISHER}” lets each customer play one session per offer. The token is in its field.`;
      button.textContent = "Sign another token";
      button.classList.add("quiet");
      panel.refresh();
    } catch (error) {
      if (!(error instanceof NotMade)) throw error;
      state.textContent = error.message;
    }
    button.disabled = false;
  });
  if (!maySign()) {
    button.disabled = true;
    state.textContent =
      "Browsers sign on pages of HTTPS and of localhost alone: bring a token, as of manage.py gentoken.";
  }
  panel.setup.prepend(element("div", { class: "try-actions" }, button), state);
}

// --- snippets -----------------------------------------------------------------------------------------

const GENTOKEN = `.venv/bin/python manage.py gentoken --publisher ${PUBLISHER} --customer alice`;
const TOKEN = `# ${CUSTOMER.variable}=$(${GENTOKEN})`;

function playing(frame, values) {
  const frames = frame.action === PLAY.action ? [PLAY] : [PLAY, frame];
  const body = wanted(values);
  const answered = httpSnippets(asking(values), CUSTOMER);
  return {
    javascript: lines(
      `const answer = await fetch(${JSON.stringify(`${HTTP}/sessions`)}, {`,
      '  method: "POST",',
      `  headers: { Authorization: "Bearer ${CUSTOMER.text}" },`,
      `  body: JSON.stringify(${javascript(body)}),`,
      "});",
      "const player = new WebSocket((await answer.json()).endpoint);",
      "const say = (action) => player.send(JSON.stringify({ action }));",
      "player.onmessage = ({ data }) => {",
      "  console.log(data);",
      '  if (JSON.parse(data).action === "PING") say("PONG");',
      "};",
      "player.onopen = () => {",
      frames.map(({ action }) => `  say("${action}");`),
      "};",
    ),
    python: lines(
      "# pip install httpx websockets",
      "import asyncio",
      "import json",
      "import os",
      "",
      "import httpx",
      "from websockets.asyncio.client import connect",
      "",
      "",
      "async def main():",
      `    headers = {"Authorization": "Bearer " + os.environ["${CUSTOMER.variable}"]}`,
      `    answer = httpx.post(${JSON.stringify(`${HTTP}/sessions`)}, headers=headers, json=${python(body)})`,
      '    async with connect(answer.json()["endpoint"]) as player:',
      frames.map((one) => `        await player.send(json.dumps(${python(one)}))`),
      "        async for frame in player:",
      "            print(frame, flush=True)",
      '            if json.loads(frame)["action"] == "PING":',
      '                await player.send(json.dumps({"action": "PONG"}))',
      "",
      "",
      "asyncio.run(main())",
    ),
    curl: lines(TOKEN, answered.curl),
  };
}

function snippets(values, connection, panel) {
  if (this.frame) return playing(parsed(this.frame(values)) ?? PLAY, connection);
  const made = httpSnippets(this.request(values, connection, panel), CUSTOMER);
  return { ...made, curl: lines(TOKEN, made.curl) };
}

// --- the panel ----------------------------------------------------------------------------------------

const saying = (action, about) => ({
  name: action,
  label: action,
  about,
  frame: () => JSON.stringify({ action }),
});

definePanel("sessions", {
  clients: ["A", "B"],
  shared: [
    { name: "customer", label: "Customer", value: "alice" },
    { name: "offer", label: "Offer", value: "demo" },
    { name: "token", label: "Customer token", secret: true, hint: "Signed by the publisher." },
    { name: "pong", label: "Answer PING by PONG", kind: "check", value: true },
  ],
  connection: {
    noun: "Player",
    button: "Play",
    fields: [{ name: "name", label: "Session name", values: ["Living room", "Phone"] }],
    prepare: ask,
  },
  snippets,
  onframe,
  start(panel) {
    setUp(panel);
    for (const client of panel.clients) {
      client.addEventListener("state", () => {
        if (client.state === "open" && !client.asked) client.send(JSON.stringify(PLAY));
        client.asked = client.state === "open";
      });
    }
  },
  acts: [
    saying(
      "REQUESTED",
      "The player is about to play: OK binds the connection to its session. “Play” has said it already.",
    ),
    saying("PONG", "The proof of life, in answer to a PING."),
    saying("FINISHED", "The slot is free at once. There is no answer."),
    {
      name: "POST /sessions",
      label: "POST /sessions",
      about: "Asks for a session: an endpoint, or 409 with those that play. “Play” does it, and connects.",
      request: (values, connection) => asking(connection),
    },
    {
      name: "takeover",
      label: "POST /takeover",
      about: "Asks for a session in place of another one of this customer.",
      fields: [SESSION],
      request: ({ id }, connection) => asking(connection, "/takeover", { sessionId: id }),
    },
    {
      name: "GET /sessions",
      label: "GET /sessions",
      about: "The sessions of this customer.",
      request: (values, { token }) => ({ path: "/sessions", bearer: token }),
    },
    {
      name: "DELETE /sessions",
      label: "DELETE /sessions/<id>",
      about: "Ends a session; its player is told to stop.",
      fields: [SESSION],
      request: ({ id }, { token }) => ({
        method: "DELETE",
        path: `/sessions/${encodeURIComponent(id)}`,
        bearer: token,
      }),
    },
    {
      name: "heartbeat",
      label: "Heartbeat",
      about: "For a device without WebSockets: it keeps its session by calls.",
      fields: [SESSION],
      request: ({ id }, { token }) => ({
        method: "POST",
        path: `/sessions/${encodeURIComponent(id)}/heartbeat`,
        bearer: token,
      }),
    },
    {
      name: "raw",
      label: "Any frame",
      about: "Anything else is ignored; the tenth closes with 1008.",
      fields: [{ name: "text", label: "Frame", value: '{"action": "DANCE"}' }],
      frame: ({ text }) => text,
      snippets: (values, connection) => playing(parsed(values.text) ?? PLAY, connection),
    },
  ],
});
