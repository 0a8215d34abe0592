// A player that behaves as the protocol's published reference client does, quirks included:
// every send waits for a tick of one second, the endpoint is kept in sessionStorage and used again after a
// reload without asking REST, and EXPIRED is followed by a new session at once.
"use strict";

const STORED = "ws_endpoint";
const KNOWN = ["OK", "EXPIRED", "PING", "TERMINATE", "TAKE_OVER"];

class Player {
  constructor(broker, token, wanted) {
    Object.assign(this, { broker, token, wanted, socket: null, log: [], unknown: [], creates: 0 });
    this.state = "idle"; // playing, denied, disabled, terminated, taken over, system error
    this.refusal = null;
  }

  async start() {
    const stored = sessionStorage.getItem(STORED);
    if (stored) {
      this.connect(stored);
      return;
    }
    this.creates += 1;
    const response = await this.post("/sessions", this.wanted);
    const data = await response.json();
    if (response.status !== 200) {
      this.refusal = data;
      this.state = data.details ? "denied" : "system error";
    } else if (data.enabled === false) {
      this.state = "disabled";
    } else {
      sessionStorage.setItem(STORED, data.endpoint);
      this.connect(data.endpoint);
    }
  }

  async takeOver(sessionId) {
    const response = await this.post("/takeover", { ...this.wanted, sessionId });
    this.connect((await response.json()).endpoint); // the status is not looked at
  }

  // Only an Authorization header: the browser sends the text with the type text/plain.
  post(path, body) {
    const headers = { Authorization: `Bearer ${this.token}` };
    return fetch(this.broker + path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  connect(endpoint) {
    const socket = (this.socket = new WebSocket(endpoint));
    socket.addEventListener("open", () => this.sendLate(socket, "REQUESTED"));
    socket.addEventListener("close", (event) => this.log.push(`closed ${event.code}`));
    socket.addEventListener("message", (event) => this.receive(socket, JSON.parse(event.data)));
  }

  receive(socket, message) {
    this.log.push(message.action);
    if (message.action === "OK") this.state = "playing";
    else if (message.action === "PING") this.sendLate(socket, "PONG");
    else if (message.action === "TERMINATE") this.state = "terminated";
    else if (message.action === "TAKE_OVER") this.state = `taken over by ${message.sessionName}`;
    else if (message.action === "EXPIRED") {
      sessionStorage.removeItem(STORED);
      this.start();
    }
    if (!KNOWN.includes(message.action)) this.unknown.push(message);
  }

  async finish() {
    await this.sendLate(this.socket, "FINISHED");
    sessionStorage.removeItem(STORED);
  }

  sendLate(socket, action) {
    return new Promise((resolve) => {
      let tries = 0;
      const timer = setInterval(() => {
        tries += 1;
        if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ action }));
        if (socket.readyState === WebSocket.OPEN || tries > 20) {
          clearInterval(timer);
          resolve();
        }
      }, 1000);
    });
  }

  summary() {
    const { state, log, unknown, creates, refusal } = this;
    return { state, log, unknown, creates, refusal };
  }
}

window.Player = Player;
