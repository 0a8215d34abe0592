// The rooms protocol in "Try it", over plain sockets; Socket.IO as a snippet.

import { javascript, lines } from "../console/js/try/literals.js";
import { definePanel, usualSnippets } from "../console/js/try/panel.js";
import { HTTP, withQuery } from "../console/js/try/server.js";

const ROOM = { name: "room", label: "Room", value: "demo" };
const NAME = { name: "name", label: "Name", values: ["alice", "bob"] };
const MESSAGE = {
  name: "message",
  label: "Message",
  kind: "value",
  value: "Hello",
  hint: "JSON, or a text.",
};
const DATA = {
  name: "data",
  label: "Data",
  kind: "value",
  value: '{"playing": true}',
  hint: "JSON, or a text.",
};

const inRooms = ({ socket }) => socket === "/layout" || socket === "/bus";
const inLobby = ({ socket }) => socket === "/lobby";
const inTrigger = ({ socket }) => socket === "/trigger";
const named = ({ last, ...fields }) => (last === undefined ? fields : { ...fields, last });

// Events that the snippet for Socket.IO listens to.
const HEARD = {
  "/layout": ["EVENT", "CLIENTS", "ERROR"],
  "/bus": ["EVENT", "CLIENTS", "ERROR"],
  "/lobby": ["PEERS", "JOINED", "LEFT", "MESSAGE", "RTCSIGNAL"],
  "/trigger": ["EVENTS", "UPDATES", "STATUS", "ERROR"],
};

function socketIo(connection, frames) {
  const { socket, lobby } = connection;
  const namespace = socket === "/lobby" ? `${socket}?lobbyId=${encodeURIComponent(lobby)}` : socket;
  return lines(
    "// socket.io-client of any version, 1.x to 4.x",
    'import { io } from "socket.io-client";',
    "",
    `const socket = io(${JSON.stringify(HTTP + namespace)});`,
    HEARD[socket].map((event) => `socket.on("${event}", (...data) => console.log("${event}", ...data));`),
    frames.map(([event, ...data]) => `socket.emit(${[event, ...data].map(javascript).join(", ")});`),
  );
}

// The usual ones, and the same for a client of Socket.IO.
function snippets(values, connection, panel) {
  const usual = usualSnippets.call(this, values, connection, panel);
  if (!this.frame) return usual;
  const frames = [...(this.before?.(values, connection) ?? []), this.frame(values, connection)];
  return { ...usual, socketio: socketIo(connection, frames) };
}

const kind = { "/layout": "layout", "/bus": "bus", "/lobby": "lobby", "/trigger": "trigger" };

const publishing = (address, message) => ({
  method: "POST",
  path: "/api/publish",
  body: { addresses: [address], message },
});

const trigger = (event, received) => ({
  name: event,
  label: event,
  about: `The others in the room receive ${received}.`,
  fields: [ROOM, DATA],
  when: inTrigger,
  frame: ({ room, data }) => [event, room, data],
  before: ({ room }) => [["JOIN", room]],
});

const member = ({ room }) => [["JOIN", { room, name: "carol" }]];

definePanel("rooms", {
  clients: ["A", "B"],
  shared: [
    { name: "socket", label: "Socket", options: ["/layout", "/bus", "/lobby", "/trigger"] },
    {
      name: "lobby",
      label: "Lobby",
      value: "demo",
      hint: "For /lobby alone: a client names its lobby when it connects.",
    },
  ],
  connection: {
    fields: [{ name: "access_token", label: "Access token", secret: true, more: true }],
    path: ({ socket, lobby, access_token }) =>
      withQuery(socket, { lobbyId: socket === "/lobby" ? lobby : "", access_token }),
  },
  snippets,
  acts: [
    {
      name: "JOIN",
      label: "JOIN",
      about: "The client is in the room, and is called by its name. Plain sockets have no acks: ask CLIENTS.",
      fields: [ROOM, NAME, { name: "last", label: "Last messages", kind: "number", more: true }],
      when: inRooms,
      frame: (values) => ["JOIN", named(values)],
    },
    {
      name: "NOTIFY",
      label: "NOTIFY",
      about: "The others in the room receive an EVENT with the sender's name.",
      fields: [ROOM, MESSAGE],
      when: inRooms,
      frame: (values) => ["NOTIFY", values],
      curl: ({ room, message }, { socket }) => publishing(`room:${kind[socket]}/${room}`, message),
      before: member,
    },
    {
      name: "CLIENTS",
      label: "CLIENTS",
      about: "Names of the members, of all workers, in the order in which they joined.",
      fields: [ROOM],
      when: inRooms,
      frame: (values) => ["CLIENTS", values],
      before: member,
    },
    {
      name: "LEAVE",
      label: "LEAVE",
      about: "The client is not in the room any more.",
      fields: [ROOM],
      when: inRooms,
      frame: (values) => ["LEAVE", values],
    },
    {
      name: "JOIN lobby",
      label: "JOIN",
      about: "In one lobby at a time: a client that has connected is in it already.",
      fields: [{ name: "lobby", label: "Lobby", value: "demo" }],
      when: inLobby,
      frame: ({ lobby }) => ["JOIN", lobby],
    },
    {
      name: "BROADCAST",
      label: "BROADCAST",
      about: "The whole lobby, the sender included, receives a MESSAGE.",
      fields: [MESSAGE],
      when: inLobby,
      frame: (values) => ["BROADCAST", values],
    },
    {
      name: "RTCSIGNAL",
      label: "RTCSIGNAL",
      about:
        "Passed on to one member by its id (see JOINED and PEERS), or to all others where it names the lobby.",
      fields: [
        { name: "to", label: "To", value: "demo" },
        { name: "fields", label: "Other fields", kind: "object", value: '{"sdp": "offer"}' },
      ],
      when: inLobby,
      frame: ({ to, fields }) => ["RTCSIGNAL", { to, ...fields }],
    },
    {
      name: "LEAVE lobby",
      label: "LEAVE",
      about: "The others receive LEFT.",
      fields: [{ name: "lobby", label: "Lobby", value: "demo" }],
      when: inLobby,
      frame: ({ lobby }) => ["LEAVE", lobby],
    },
    {
      name: "JOIN trigger",
      label: "JOIN",
      about: "The client is in the room.",
      fields: [ROOM],
      when: inTrigger,
      frame: ({ room }) => ["JOIN", room],
    },
    trigger("BROADCAST_EVENTS", "EVENTS"),
    trigger("BROADCAST_UPDATES", "UPDATES"),
    trigger("BROADCAST_STATUS", "STATUS"),
    {
      name: "LEAVE trigger",
      label: "LEAVE",
      about: "The client is not in the room any more.",
      fields: [ROOM],
      when: inTrigger,
      frame: ({ room }) => ["LEAVE", room],
    },
    {
      name: "raw",
      label: "Any frame",
      about: "An event as a JSON array: its name, then its arguments.",
      fields: [{ name: "text", label: "Frame", value: '["CLIENTS", {"room": "demo"}]' }],
      frame: ({ text }) => text,
      snippets: usualSnippets,
    },
    {
      name: "bus-message",
      label: "POST /bus-message",
      about: "Every client in the room of /bus receives an EVENT of the sender POST.",
      fields: [
        ROOM,
        { ...MESSAGE, kind: "json", value: '{"playing": true}', hint: "A JSON object or array." },
      ],
      when: ({ socket }) => socket === "/bus",
      credential: null,
      request: ({ room, message }) => ({
        method: "POST",
        path: `/bus-message/${encodeURIComponent(room)}`,
        body: message,
      }),
    },
    {
      name: "publish",
      label: "POST /api/publish",
      about: "The same from outside, for addresses of all protocols. The sender is the key's name, or yours.",
      fields: [ROOM, MESSAGE],
      request: ({ room, message }, { socket }) => publishing(`room:${kind[socket]}/${room}`, message),
    },
  ],
});
