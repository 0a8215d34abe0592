// The same act as code: what stands in the tabs below a form, and how it is copied.

import { element, freshId } from "./dom.js";
import { javascript, lines, python, shell } from "./literals.js";
import { HTTP, WS } from "./server.js";
import { tabs } from "./tabs.js";

// Places of secrets: nobody's own stands in a snippet.
export const KEY = "<KEY>";
export const KEY_VARIABLE = "SWITCHBOARD_API_KEY";

const textOf = (frame) => (typeof frame === "string" ? frame : JSON.stringify(frame));
const inJavaScript = (frame) =>
  typeof frame === "string" ? javascript(frame) : `JSON.stringify(${javascript(frame)})`;
const inPython = (frame) => (typeof frame === "string" ? python(frame) : `json.dumps(${python(frame)})`);

// Snippets that open a socket, send frames (texts, or JSON values) and print what comes.
export function socketSnippets(path, frames) {
  const url = JSON.stringify(WS + path);
  const json = frames.some((frame) => typeof frame !== "string");
  return {
    javascript: lines(
      `const socket = new WebSocket(${url});`,
      "socket.onmessage = ({ data }) => console.log(data);",
      "socket.onclose = ({ code, reason }) => console.log(code, reason);",
      frames.length ? "socket.onopen = () => {" : null,
      frames.map((frame) => `  socket.send(${inJavaScript(frame)});`),
      frames.length ? "};" : null,
    ),
    python: lines(
      "# pip install websockets",
      "import asyncio",
      json ? "import json" : null,
      "",
      "from websockets.asyncio.client import connect",
      "",
      "",
      "async def main():",
      `    async with connect(${url}) as socket:`,
      frames.map((frame) => `        await socket.send(${inPython(frame)})`),
      "        async for frame in socket:",
      "            print(frame, flush=True)",
      "",
      "",
      "asyncio.run(main())",
    ),
  };
}

// Snippets of one HTTP call. `request` is as `server.call` takes it; `credential` says whose it is: "key" (an
// API key), `{variable, text}` (a bearer token, from a variable of the environment), or null.
export function httpSnippets({ method = "GET", path, body, form }, credential = "key") {
  const url = HTTP + path;
  return {
    javascript: fetchSnippet(method, url, body, form, credential),
    python: httpxSnippet(method, url, body, form, credential),
    curl: curlSnippet(method, url, body, form, credential),
  };
}

function fetchSnippet(method, url, body, form, credential) {
  const headers = {};
  if (credential === "key") headers["X-API-Key"] = KEY;
  else if (credential) headers.Authorization = `Bearer ${credential.text}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return lines(
    `const answer = await fetch(${JSON.stringify(url)}, {`,
    `  method: ${JSON.stringify(method)},`,
    Object.keys(headers).length ? `  headers: ${javascript(headers)},` : null,
    body !== undefined ? `  body: JSON.stringify(${javascript(body)}),` : null,
    form ? `  body: new URLSearchParams(${javascript(form)}),` : null,
    "});",
    "console.log(answer.status, await answer.text());",
  );
}

function httpxSnippet(method, url, body, form, credential) {
  const variable = credential === "key" ? KEY_VARIABLE : credential?.variable;
  const environment = `os.environ["${variable}"]`;
  const header =
    credential === "key" ? `{"X-API-Key": ${environment}}` : `{"Authorization": "Bearer " + ${environment}}`;
  return lines(
    "# pip install httpx",
    variable ? "import os" : null,
    variable ? "" : null,
    "import httpx",
    "",
    `answer = httpx.request(`,
    `    ${JSON.stringify(method)},`,
    `    ${JSON.stringify(url)},`,
    variable ? `    headers=${header},` : null,
    body !== undefined ? `    json=${python(body)},` : null,
    form ? `    data=${python(form)},` : null,
    ")",
    "print(answer.status_code, answer.text)",
  );
}

function curlSnippet(method, url, body, form, credential) {
  const words = [`curl ${shell(url)}`];
  const implied = body !== undefined || form ? "POST" : "GET";
  if (method !== implied) words.push(`-X ${method}`);
  if (credential === "key") words.push(`-H "X-API-Key: $${KEY_VARIABLE}"`);
  else if (credential) words.push(`-H "Authorization: Bearer $${credential.variable}"`);
  if (body !== undefined) words.push("-H 'Content-Type: application/json'", `-d ${shell(textOf(body))}`);
  for (const [name, value] of Object.entries(form ?? {})) {
    words.push(`--data-urlencode ${shell(`${name}=${value}`)}`);
  }
  return words.join(" \\\n  ");
}

const LANGUAGES = { javascript: "JavaScript", python: "Python", curl: "curl", socketio: "Socket.IO" };

// Tabs of snippets; `show` takes them by language, and keeps the language that was chosen.
export class Snippets {
  #chosen = "javascript";

  constructor(label) {
    this.list = element("div", { role: "tablist", class: "try-tabs", "aria-label": `Snippets of ${label}` });
    this.code = element("code", {});
    const id = freshId("try-snippet");
    this.panel = element(
      "pre",
      { id, role: "tabpanel", class: "try-code", tabindex: "0", "aria-label": `Snippet for ${label}` },
      this.code,
    );
    this.copy = element(
      "button",
      { type: "button", class: "quiet try-small", onclick: () => this.#copy() },
      "Copy",
    );
    this.element = element(
      "div",
      { class: "try-snippets" },
      element("div", { class: "try-tools" }, element("h3", {}, "The same in code"), this.list, this.copy),
      this.panel,
    );
    this.select = tabs(this.list, (tab) => this.#choose(tab.dataset.language));
  }

  // Show snippets: language -> text.
  show(snippets) {
    this.snippets = snippets;
    const languages = Object.keys(LANGUAGES).filter((language) => snippets[language]);
    if (!languages.includes(this.#chosen)) this.#chosen = languages[0];
    if (languages.join() !== this.languages) this.#makeTabs(languages);
    this.select(this.list.querySelector(`[data-language="${this.#chosen}"]`));
  }

  #makeTabs(languages) {
    this.languages = languages.join();
    const attributes = { type: "button", role: "tab", "aria-controls": this.panel.id };
    this.list.replaceChildren(
      ...languages.map((language) =>
        element("button", { ...attributes, "data-language": language }, LANGUAGES[language]),
      ),
    );
  }

  #choose(language) {
    this.#chosen = language;
    this.code.textContent = this.snippets[language];
    this.panel.hidden = false;
    this.copy.textContent = "Copy";
  }

  async #copy() {
    const text = this.code.textContent;
    try {
      await navigator.clipboard.writeText(text);
      this.copy.textContent = "Copied";
    } catch {
      // Pages without HTTPS have no clipboard: the text is selected instead.
      getSelection().selectAllChildren(this.code);
      this.copy.textContent = "Selected: press Ctrl+C";
    }
  }
}
