// REST with the session of the page.
//
// call(method, path, body) -> Promise of the decoded answer, null for none; path is below /api/, such as "clients/"
// poll(path, every, onData, onError, changes) -> { update(path), now(), stop() }: again and again while the page is visible
//   path: a string, or a function that makes it each time; changes: a mark without whose change nothing is asked again (see changes.js)
// may(act): true when the user may do an act that the page has been told of (see routing_app/console/access.py)

const METHODS_OF_CHANGE = new Set(["POST", "PUT", "PATCH", "DELETE"]);
const LONGEST_REST = 60_000; // milliseconds

export const api = new URL("../api/", new URL(document.body.dataset.root, location.href));

export class RestError extends Error {
  constructor(status, answer) {
    super(sentence(answer) || `The server has answered with ${status}.`);
    this.status = status;
    this.answer = answer;
  }
}

export function may(act) {
  return document.body.dataset.acts.split(" ").includes(act);
}

export async function call(method, path, body) {
  const options = { method, headers: { Accept: "application/json" }, credentials: "same-origin" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  if (METHODS_OF_CHANGE.has(method)) options.headers["X-CSRFToken"] = cookie("csrftoken");
  let answer;
  try {
    answer = await fetch(new URL(path, api), options);
  } catch {
    throw new RestError(0, { detail: "The server cannot be reached." });
  }
  const decoded = await decode(answer);
  if (!answer.ok) throw new RestError(answer.status, decoded);
  return decoded;
}

export function poll(path, every, onData, onError = () => {}, changes = null) {
  let timer = null;
  let round = 0;
  let seen = null; // the mark when it was last asked
  let asked = 0;
  let rests = false; // nothing has changed
  async function turn() {
    clearTimeout(timer);
    rests = false;
    const mine = ++round;
    if (!document.hidden) {
      const mark = changes?.mark ?? null;
      asked = Date.now();
      try {
        const data = await call("GET", typeof path === "function" ? path() : path);
        tellPolled(true);
        if (mine === round) onData(data);
        seen = mark;
      } catch (error) {
        tellPolled(error.status > 0);
        if (mine === round) onError(error);
        seen = null;
      }
    }
    if (mine === round) timer = setTimeout(due, every * 1000);
  }
  // What time alone changes, such as a deadline that has passed, is seen in the end.
  function due() {
    const left = asked + LONGEST_REST - Date.now();
    rests = seen !== null && seen === changes.mark && left > 0;
    if (rests) timer = setTimeout(turn, left);
    else turn();
  }
  const forget = changes?.onChange(() => rests && turn());
  const seenAgain = () => document.hidden || turn();
  document.addEventListener("visibilitychange", seenAgain);
  turn();
  return {
    update(changed) {
      path = changed;
      turn();
    },
    now: turn,
    stop() {
      round++;
      clearTimeout(timer);
      rests = false;
      forget?.();
      document.removeEventListener("visibilitychange", seenAgain);
    },
  };
}

// The shell shows whether the server answers.
function tellPolled(answers) {
  document.dispatchEvent(new CustomEvent("polled", { detail: answers }));
}

async function decode(answer) {
  const text = await answer.text();
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return { detail: "" };
  }
}

function cookie(name) {
  const found = document.cookie.split("; ").find((one) => one.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
}

// {"detail": "…"} or {"field": ["…"]}, as REST Framework writes errors.
function sentence(answer) {
  if (answer === null || typeof answer !== "object") return "";
  if (typeof answer.detail === "string") return answer.detail;
  return Object.entries(answer)
    .map(([field, why]) => `${field}: ${Array.isArray(why) ? why.flat().join(" ") : JSON.stringify(why)}`)
    .join("; ");
}
