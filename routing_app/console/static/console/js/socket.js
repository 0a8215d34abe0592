// The socket of the console: topics that a page watches, or asks for once.
//
// watch(topic, params, onData, onError) -> { update(params), stop() }
// ask(topic, params) -> Promise of the data
// onState(callback): "idle" (no topic was wanted yet), "connecting", "live" or "reconnecting", now and at each change

const FIRST_WAIT = 400; // milliseconds, doubled with each attempt
const LONGEST_WAIT = 10_000;
const SESSION_ENDED = 4005;

const topics = new Map(); // id -> { topic, params, watch, onData, onError }
const listeners = new Set();
let socket = null;
let lastId = 0;
let attempts = 0;
let state = "idle";

export class TopicError extends Error {
  constructor({ status, detail }) {
    super(detail);
    this.status = status;
  }
}

export function watch(topic, params, onData, onError = () => {}) {
  const entry = { topic, params, watch: true, onData, onError };
  const id = begin(entry);
  return {
    // Also after an error: other params may be right.
    update(changed) {
      entry.params = changed;
      topics.set(id, entry);
      tell(id);
    },
    stop() {
      if (topics.delete(id) && isOpen()) socket.send(JSON.stringify({ id, stop: true }));
    },
  };
}

export function ask(topic, params = {}) {
  return new Promise((resolve, reject) => {
    begin({ topic, params, watch: false, onData: resolve, onError: reject });
  });
}

export function onState(callback) {
  listeners.add(callback);
  callback(state);
}

function begin(entry) {
  const id = ++lastId;
  topics.set(id, entry);
  if (socket === null) {
    become("connecting");
    open();
  }
  tell(id);
  return id;
}

function isOpen() {
  return socket !== null && socket.readyState === WebSocket.OPEN;
}

function tell(id) {
  if (!isOpen()) return; // it is told when the socket opens
  const { topic, params, watch } = topics.get(id);
  socket.send(JSON.stringify({ id, topic, params, watch }));
}

function open() {
  const url = new URL(document.body.dataset.socket, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const mine = (socket = new WebSocket(url));
  let opened = false;
  mine.onopen = () => {
    opened = true;
    attempts = 0;
    become("live");
    for (const id of topics.keys()) tell(id);
  };
  mine.onmessage = (event) => receive(JSON.parse(event.data));
  mine.onclose = (event) => {
    become("reconnecting");
    if (event.code === SESSION_ENDED) location.reload(); // the server sends it to the log-in
    else if (opened) later();
    else lookForSession().then(later);
  };
}

function later() {
  const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempts++);
  setTimeout(open, wait * (0.5 + Math.random() / 2));
}

// A handshake that is refused has no reason: a page that is redirected to the log-in says it.
async function lookForSession() {
  try {
    const answer = await fetch(location.href, { method: "HEAD", redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect" || answer.status === 403) location.reload();
  } catch {
    // the server is away: try again later
  }
}

function receive({ id, data, error }) {
  const entry = topics.get(id);
  if (!entry) return; // it has been stopped meanwhile
  const goesOn = entry.watch && (error === undefined || error.status === 503);
  if (!goesOn) topics.delete(id);
  if (error === undefined) entry.onData(data);
  else entry.onError(new TopicError(error));
}

function become(next) {
  if (state === next) return;
  state = next;
  for (const callback of listeners) callback(state);
}
