// Socket.IO clients of every generation as puppets: commands as JSON lines in, what happens as JSON lines out.
//
//   {"do": "open", "client": "a", "library": "socket.io-client-1.7", "url": "http://…/layout", "options": {…}}
//   {"do": "emit", "client": "a", "event": "JOIN", "args": […], "ack": 1}     ack: answered with {"ack": 1, …}
//   {"do": "look", "client": "a"}                                             tells the transport it is on
//   {"do": "drop", "client": "a"}                                             loses its connection
//   {"do": "reconnect", "client": "a"}                                        disconnects, and connects again
//   {"do": "close", "client": "a"}
//
// Clients from 4.6 on tell before each "connect" whether they have "recovered".
// A buffer is {"buffer": "<base64>"}, in both directions.
// Out: {"client": "a", "event": "EVENT", "args": […]} and {"client": "a", "ack": 1, "args": […]}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Node has no WebTransport, and a client that lists it first never goes on without the class: this one fails
// as in a browser on a network without QUIC.
globalThis.WebTransport ??= class {
  ready = new Promise(() => {});
  closed = Promise.reject(new Error("no QUIC here"));
};

const require = createRequire(import.meta.url);
const NAMES = "EVENT CLIENTS ERROR JOINED PEERS LEFT MESSAGE RTCSIGNAL EVENTS UPDATES STATUS".split(" ");
const sockets = new Map();

// One write for what happens in a turn of the loop: thousands of events a second come this way.
let told = "";

function tell(what) {
  if (told === "") setImmediate(write);
  told += JSON.stringify(what, plain) + "\n";
}

function plain(key, value) {
  // `Buffer.toJSON` is called before this function is.
  const bytes = value?.type === "Buffer" && Array.isArray(value.data) ? value.data : value;
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value) || bytes !== value) {
    return { buffer: Buffer.from(bytes).toString("base64") };
  }
  return value;
}

function revived(key, value) {
  return typeof value?.buffer === "string" ? Buffer.from(value.buffer, "base64") : value;
}

function write() {
  process.stdout.write(told);
  told = "";
}

function open({ client, library, url, options }) {
  const module = require(library);
  const connect = module.io ?? module;
  const socket = connect(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 300, ...options });
  sockets.set(client, socket);
  for (const event of NAMES) {
    socket.on(event, (...args) => tell({ client, event, args }));
  }
  socket.on("connect", () => {
    if (socket.recovered !== undefined) tell({ client, event: "recovered", args: [socket.recovered] });
    tell({ client, event: "connect", args: [socket.id] });
  });
  socket.on("disconnect", (reason) => tell({ client, event: "disconnect", args: [reason] }));
  for (const event of ["error", "connect_error"]) {
    socket.on(event, (error) => tell({ client, event, args: [error?.message ?? String(error)] }));
  }
}

const actions = {
  open,
  emit({ client, event, args, ack }) {
    const answer = ack ? [(...args) => tell({ client, ack, args })] : [];
    sockets.get(client).emit(event, ...args, ...answer);
  },
  look({ client }) {
    tell({ client, event: "transport", args: [sockets.get(client).io.engine.transport.name] });
  },
  drop({ client }) {
    sockets.get(client).io.engine.close();
  },
  reconnect({ client }) {
    sockets.get(client).disconnect().connect();
  },
  close({ client }) {
    sockets.get(client).close();
    sockets.delete(client);
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line, revived);
  actions[command.do](command);
});
lines.on("close", () => process.exit(0));
tell({ event: "ready" });
