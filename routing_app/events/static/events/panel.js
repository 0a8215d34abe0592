// The events protocol in "Try it": its events, accounts, and the walkers of this server.

import { embedded } from "../console/js/try/dom.js";
import { definePanel } from "../console/js/try/panel.js";
import { parsed, withQuery } from "../console/js/try/server.js";

const LOGIN = { variable: "SWITCHBOARD_LOGIN_TOKEN", text: "<LOGIN TOKEN>" };
const DATA = { name: "data", label: "Data", kind: "object", value: '{"text": "Hello"}' };
const EMAIL = { name: "email", label: "Email", value: "ann@example.com" };
const PASSWORD = { name: "password", label: "Password", secret: true, hint: "At least 8 characters." };

// Described in routing_app/events/walkers.py.
const { walkers = [] } = embedded("panel-events") ?? {};

// The login token of this page, kept in its memory alone.
let login = "";

const account = (name, about, fields, { authorized = false, ...rest } = {}) => ({
  name,
  label: `POST /user/${name}`,
  about,
  fields,
  credential: authorized ? LOGIN : null,
  request: (values) => ({
    method: "POST",
    path: `/user/${name}`,
    ...(fields.length ? { body: values } : {}),
    bearer: authorized ? login : "",
  }),
  ...rest,
});

const targeted = (type, ids, label, value, about) => ({
  name: type,
  label: type,
  about,
  fields: [{ name: ids, label, kind: "words", value }, DATA],
  frame: ({ [ids]: named, data }) => ({ type, [ids]: named, data }),
});

const ACTS = [
  {
    ...targeted(
      "channel",
      "channel_ids",
      "Channels",
      "demo",
      "All sockets on the channels get the data as it is.",
    ),
    curl: ({ channel_ids, data }) => ({
      method: "POST",
      path: "/api/publish",
      body: { addresses: channel_ids.map((id) => `channel:${id}`), message: data },
    }),
  },
  targeted(
    "client",
    "client_ids",
    "Clients",
    "",
    "Single sockets, by the client_id of their connection frame.",
  ),
  targeted(
    "user",
    "root_ids",
    "Users",
    "",
    "All sockets of users, by their root ids. Nobody has a root of the public's.",
  ),
  {
    name: "connection",
    label: "connection",
    about: "Asks for the connection frame again.",
    frame: () => ({ type: "connection" }),
  },
  {
    name: "change_user",
    label: "change_user",
    about: "The socket is another user's from here on; without a token it is the public's.",
    fields: [{ name: "token", label: "Login token", secret: true }],
    frame: ({ token }) => (token ? { type: "change_user", token } : { type: "change_user" }),
  },
  {
    name: "walker",
    label: "walker",
    about: walkers.length
      ? "Runs a function of yours on the server, by its name."
      : "No app of this server has walkers: make run EXTRA_APPS=examples.chat brings those of the example.",
    fields: [
      { name: "walker", label: "Walker", value: "about" },
      { name: "context", label: "Context", kind: "object", value: "{}" },
      { name: "node", label: "Node", more: true },
      { name: "response", label: "Answer with its reports", kind: "check", value: true },
    ],
    frame: ({ walker, context, node, response }) => ({
      type: "walker",
      walker,
      ...(node ? { node } : {}),
      response,
      context,
    }),
  },
  account("register", "Makes a user.", [EMAIL, PASSWORD]),
  account("login", "Answers a token, which this page uses from then on, and the user with its root id.", [
    EMAIL,
    PASSWORD,
  ]),
  account(
    "change_password",
    "Ends all logins of the user.",
    [
      { name: "old_password", label: "Old password", secret: true },
      { name: "new_password", label: "New password", secret: true },
    ],
    { authorized: true },
  ),
  account("logout", "The login ends, and its sockets with it.", [], { authorized: true }),
];

const KINDS = { integer: "number", number: "number", boolean: "check", string: "text" };

// A field of a walker, by its JSON schema.
function fieldOf(name, schema, required) {
  const kind = KINDS[schema.type] ?? "optional";
  const value = schema.default === undefined || schema.default === null ? "" : schema.default;
  return { name, label: schema.title ?? name, kind, value, hint: required ? "" : "May be left out." };
}

// The form of a walker: over the socket where it may, else over HTTP.
function walkerAct({ name, about, fields, required, socket, method, path, places, auth }) {
  const given = (values) =>
    Object.fromEntries(
      Object.entries(values).filter(
        ([one, value]) => value !== undefined && (value !== "" || required.includes(one)),
      ),
    );
  const act = {
    name: `walker:${name}`,
    label: `▸ ${name}`,
    about: [about, auth ? "It needs a login." : "The public may call it."].filter(Boolean).join(" "),
    button: "Run",
    fields: Object.entries(fields).map(([one, schema]) => fieldOf(one, schema, required.includes(one))),
    credential: auth ? LOGIN : null,
  };
  const over = (values) => callOf(method, `/walker/${name}${path}`, places, given(values));
  if (!socket) return { ...act, request: over };
  return {
    ...act,
    ...(method ? { curl: over } : {}),
    frame: (values) => ({ type: "walker", walker: name, response: true, context: given(values) }),
  };
}

function callOf(method, pattern, places, values) {
  const at = (place) => Object.entries(values).filter(([name]) => places[name] === place);
  const path = at("path").reduce(
    (text, [name, value]) => text.replace(`{${name}}`, encodeURIComponent(value)),
    pattern,
  );
  const body = at("body");
  return {
    method: method.toUpperCase(),
    path: withQuery(path, Object.fromEntries(at("query"))),
    ...(body.length ? { body: Object.fromEntries(body) } : {}),
    bearer: login,
  };
}

definePanel("events", {
  clients: ["A", "B"],
  connection: {
    fields: [
      { name: "channel_id", label: "Channel", value: "demo" },
      { name: "auth", label: "Login token", secret: true, more: true, hint: "Filled in by a login below." },
      { name: "access_token", label: "Access token", secret: true, more: true },
      { name: "last", label: "Last messages first", more: true },
    ],
    path: ({ channel_id, auth, access_token, last }) =>
      withQuery("/websocket", { channel_id, auth, access_token, last }),
  },
  acts: [...ACTS.slice(0, 6), ...walkers.map(walkerAct), ...ACTS.slice(6)],
  start(panel) {
    panel.addEventListener("answer", ({ detail }) => useLogin(panel, detail));
    panel.suggest("register", { email: `ann${Math.floor(Math.random() * 1e6)}@example.com`, password: "" });
  },
  onframe(text, client, panel) {
    const frame = parsed(text);
    if (frame?.type !== "connection" || !frame.data) return;
    panel.suggest("client", { client_ids: [frame.data.client_id] });
    client.say(`client_id ${frame.data.client_id}, root_id ${frame.data.root_id}`);
  },
});

// Have the page use a new login, and fill in what belongs to it.
function useLogin(panel, { request, answer }) {
  if (request.path === "/user/register") panel.suggest("login", request.body);
  if (request.path !== "/user/login" || answer.status !== 200) return;
  login = answer.json.token;
  panel.suggest("change_user", { token: login });
  panel.suggest("user", { root_ids: [`n::${answer.json.user.root_id}`] });
  for (const card of panel.cards) if (card.client.state === "closed") card.fields.set({ auth: login });
}
