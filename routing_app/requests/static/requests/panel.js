// The requests protocol in "Try it": who is logged in as staff has the rights of that session here.

import { lines, javascript, python } from "../console/js/try/literals.js";
import { definePanel } from "../console/js/try/panel.js";
import { WS, withQuery } from "../console/js/try/server.js";
import { httpSnippets, KEY, KEY_VARIABLE } from "../console/js/try/snippets.js";

const ADDRESSES = { name: "addresses", label: "Addresses", kind: "words", value: "token:demo" };
const ADDRESS = { name: "address", label: "Address", value: "token:demo" };
const MESSAGE = {
  name: "message",
  label: "Message",
  kind: "value",
  value: "Hello",
  hint: "JSON, or a text.",
};
const LAST = {
  name: "last",
  label: "Last messages first",
  kind: "number",
  more: true,
  hint: "Of addresses with history.",
};

let number = 0;

// A REQUEST with a key of its own; fields without a value are left out.
function request(type, fields, fresh = true) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
  return { key: fresh ? (number += 1) : 1, direction: "REQUEST", type, ...Object.fromEntries(given) };
}

// An act of one built-in request. `client`: statements that do the same with the Python client, which
// `stays` keeps open.
function asking(
  type,
  label,
  about,
  fields,
  { pick = (values) => values, client, stays = false, http, ...rest } = {},
) {
  return {
    name: type,
    label,
    about,
    fields,
    frame: (values) => request(type, pick(values)),
    snippets: (values) => ({
      javascript: inJavaScript([request(type, pick(values), false)]),
      python: inPython(
        client?.(values) ?? printed(`connection.request(${python({ type, ...pick(values) })})`),
        stays,
      ),
      curl: http ? httpSnippets(http(values)).curl.replace("curl ", stays ? "curl -N " : "curl ") : undefined,
    }),
    ...rest,
  };
}

const list = (addresses) => addresses.map(python).join(", ");

function inJavaScript(frames) {
  return lines(
    `const peer = new WebSocket(${JSON.stringify(`${WS}/connection`)});`,
    "const send = (frame) => peer.send(JSON.stringify(frame));",
    "peer.onmessage = ({ data }) => console.log(data);",
    "peer.onopen = () => {",
    "  // In a page of this server where you are logged in as staff, the session counts without a key.",
    `  send(${javascript({ key: 0, direction: "REQUEST", type: "authenticate", api_key: KEY })});`,
    frames.map((frame) => `  send(${javascript(frame)});`),
    "};",
  );
}

// Calls that return nothing are told by a word.
const printed = (call) => [`print(await ${call}, flush=True)`];
const told = (call, word) => [`await ${call}`, `print("${word}", flush=True)`];

function inPython(statements, stays) {
  return lines(
    "# pip install ./clients/python",
    "import asyncio",
    "import os",
    "",
    "from switchboard_client import connect",
    "",
    "",
    "async def main():",
    `    key = os.environ["${KEY_VARIABLE}"]`,
    `    async with await connect(${JSON.stringify(`${WS}/connection`)}, key=key) as connection:`,
    stays
      ? '        connection.on("delivery", lambda one: print(one.address, one.message, flush=True))'
      : null,
    statements.map((one) => `        ${one}`),
    stays ? "        await connection.closed()" : null,
    "",
    "",
    "asyncio.run(main())",
  );
}

const publishing = ({ addresses, message }) => ({
  method: "POST",
  path: "/api/publish",
  body: { addresses, message },
});
const streaming = ({ addresses }) => ({
  path: `/api/stream?${addresses.map((one) => `address=${encodeURIComponent(one)}`).join("&")}`,
});

const ACTS = [
  asking("whoami", "whoami", "Who the server takes you for, and what you may do.", []),
  asking(
    "subscribe",
    "subscribe",
    "Deliveries of these addresses come from now on, whatever protocol they belong to.",
    [ADDRESSES, LAST, { name: "notices", label: "Tell who comes and goes", kind: "check", more: true }],
    {
      pick: ({ addresses, last, notices }) => ({ addresses, last, notices: notices || undefined }),
      client: ({ addresses }) => told(`connection.subscribe(${list(addresses)})`, "subscribed"),
      stays: true,
      http: streaming,
    },
  ),
  asking(
    "publish",
    "publish",
    "To addresses of any protocol; each receiver gets it in the shape of its own.",
    [
      ADDRESSES,
      MESSAGE,
      { name: "id", label: "Id", more: true, hint: "Published once, however often it is sent." },
    ],
    {
      client: ({ addresses, message }) =>
        printed(`connection.publish(${python(addresses)}, ${python(message)})`),
      http: publishing,
    },
  ),
  asking(
    "publish_batch",
    "publish_batch",
    "Up to 1,000 messages at once; each has an answer of its own.",
    [
      {
        name: "messages",
        label: "Messages",
        kind: "json",
        rows: 4,
        value:
          '[{"addresses": ["token:demo"], "message": "one"},\n {"addresses": ["room:bus/demo"], "message": "two"}]',
      },
    ],
    {
      client: ({ messages }) => printed(`connection.publish_batch(${python(messages)})`),
      http: ({ messages }) => ({ method: "POST", path: "/api/publish/batch", body: { messages } }),
    },
  ),
  asking("unsubscribe", "unsubscribe", "No more deliveries of these addresses.", [ADDRESSES], {
    client: ({ addresses }) => told(`connection.unsubscribe(${list(addresses)})`, "unsubscribed"),
  }),
  asking("presence", "presence", "Who subscribes to an address now, on all workers.", [ADDRESS]),
  asking(
    "history",
    "history",
    "Messages that are kept, of an address with a rule that keeps some.",
    [
      ADDRESS,
      { name: "limit", label: "At most", kind: "number", value: "10" },
      { name: "reverse", label: "Newest first", kind: "check" },
    ],
    {
      client: ({ address, limit, reverse }) =>
        printed(
          `connection.history(${python(address)}, limit=${limit ?? 100}, reverse=${python(Boolean(reverse))})`,
        ),
      http: ({ address, limit }) => ({ path: withQuery("/api/history", { address, limit: limit ?? 100 }) }),
    },
  ),
  asking(
    "authenticate",
    "authenticate",
    "Take the rights of an API key or an access token in place of those of the session.",
    [
      { name: "api_key", label: "API key", secret: true },
      { name: "token", label: "Access token", secret: true },
    ],
    { client: () => printed('connection.request({"type": "whoami"})') },
  ),
  {
    name: "own",
    label: "Your handler",
    about: "A request of any type: handlers in the requests.py of your apps answer it, or a hook.",
    fields: [
      { name: "type", label: "Type", value: "count" },
      { name: "fields", label: "Other fields", kind: "object", value: '{"to": 3}' },
    ],
    frame: ({ type, fields }) => request(type, fields),
    snippets: ({ type, fields }) => ({
      javascript: inJavaScript([request(type, fields, false)]),
      python: inPython(printed(`connection.request(${python({ type, ...fields })})`)),
    }),
  },
  {
    name: "message",
    label: "Message",
    about: "A message is not answered; handlers of its type get it.",
    fields: [
      { name: "type", label: "Type", value: "note" },
      { name: "fields", label: "Other fields", kind: "object", value: '{"text": "Hello"}' },
    ],
    frame: ({ type, fields }) => ({ type, ...fields }),
    snippets: ({ type, fields }) => ({
      javascript: inJavaScript([{ type, ...fields }]),
      python: inPython(told(`connection.send(${python({ type, ...fields })})`, "sent")),
    }),
  },
  {
    name: "answer",
    label: "Answer",
    about: "Where the server or an operator asks this client, it answers with the key of the question.",
    fields: [
      { name: "key", label: "Key of the request" },
      { name: "direction", label: "As", options: ["REPLY", "PARTIAL", "ERROR"] },
      { name: "fields", label: "Fields", kind: "object", value: '{"yes": true}' },
    ],
    frame: ({ key, direction, fields }) => ({ key, direction, ...fields }),
    snippets: ({ key, direction, fields }) => ({ javascript: inJavaScript([{ key, direction, ...fields }]) }),
  },
];

definePanel("requests", {
  connection: {
    fields: [
      {
        name: "access_token",
        label: "Access token",
        secret: true,
        more: true,
        hint: "Empty: your session counts.",
      },
    ],
    path: ({ access_token }) => withQuery("/connection", { access_token }),
  },
  acts: ACTS,
  start(panel) {
    const { handlers = [] } = panel.data;
    if (handlers.length) panel.hint("own", `Handlers of this server: ${handlers.join(", ")}.`);
  },
  onframe(text, client, panel) {
    const frame = JSON.parse(text);
    if (frame.direction === "REQUEST" && "key" in frame) panel.suggest("answer", { key: frame.key });
  },
});
