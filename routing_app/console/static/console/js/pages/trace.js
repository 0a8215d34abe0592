// Frames of connections, one by one, while they are followed.

import { byId, element, setText } from "../dom.js";
import { age, number, plural, time } from "../format.js";
import { may } from "../rest.js";
import { connectionLink } from "../rows.js";
import { protocolName } from "../series.js";
import { watch } from "../socket.js";

const SHOWN = 500; // lines in the page
const KEPT = 50_000; // frames for the file
const HINTS = {
  connection: "the id of a connection",
  identity: "exactly, as the list of connections has it",
  network: "192.0.2.0/24 or an address",
  address: "kind:name",
};

const form = byId("target");
const given = new URLSearchParams(location.search);
let kept = [];
let totals = { shown: 0, dropped: 0, forgotten: 0 };
let watching = null;
let latest = null;
let timer = null;

if (given.has("kind") && given.get("kind") in HINTS) form.elements.kind.value = given.get("kind");
form.elements.value.value = given.get("value") ?? "";
byId("bodies-field").hidden = !may("bodies");
const showHint = () => (form.elements.value.placeholder = HINTS[form.elements.kind.value]);
form.elements.kind.addEventListener("change", showHint);
showHint();

form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
byId("stop").addEventListener("click", () => end("Stopped."));
byId("download").addEventListener("click", download);

function begin() {
  end("");
  const { kind, value, seconds, bodies } = form.elements;
  kept = [];
  totals = { shown: 0, dropped: 0, forgotten: 0 };
  latest = null;
  byId("frames").replaceChildren();
  byId("none").hidden = false;
  byId("problem").replaceChildren();
  const params = { [kind.value]: value.value.trim(), bodies: bodies.checked, seconds: Number(seconds.value) };
  setText(byId("state"), "Asking all workers …");
  byId("stop").disabled = false;
  watching = watch("trace", params, show, (error) => {
    end("");
    byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message));
  });
  timer = setInterval(showState, 1000);
}

function end(text) {
  watching?.stop();
  watching = null;
  clearInterval(timer);
  byId("stop").disabled = true;
  setText(byId("state"), text || "Nothing is followed.");
}

function show(batch) {
  latest = batch;
  totals.dropped += batch.dropped;
  totals.shown += batch.frames.length;
  kept.push(...batch.frames);
  if (kept.length > KEPT) {
    totals.forgotten += kept.length - KEPT;
    kept = kept.slice(-KEPT);
  }
  const lines = batch.frames.slice(-SHOWN).reverse().map(line);
  byId("frames").prepend(...lines);
  while (byId("frames").children.length > SHOWN) byId("frames").lastElementChild.remove();
  byId("none").hidden = totals.shown > 0;
  byId("download").disabled = kept.length === 0;
  setText(document.querySelector('[data-total="frames"]'), number(totals.shown));
  showState();
}

function line(frame) {
  const isIn = frame.direction === "in";
  const direction = element("span", { class: `badge ${isIn ? "" : "good"}` }, isIn ? "→ in" : "← out");
  const milliseconds = String(Math.floor((frame.at % 1) * 1000)).padStart(3, "0");
  return element(
    "tr",
    { "data-direction": frame.direction },
    element("td", { class: "mono" }, `${time(frame.at)}.${milliseconds}`),
    element("td", {}, direction),
    element("td", {}, connectionLink(frame.connection)),
    element("td", {}, protocolName(frame.protocol)),
    element("td", { class: "number" }, number(frame.size)),
    element("td", { class: frame.code ? "bad" : "" }, frame.code ? `close ${frame.code}` : ""),
    element("td", { class: "wrap" }, body(frame)),
  );
}

function body(frame) {
  if (frame.body === undefined) return element("span", { class: "soft" }, "masked");
  const marks = [frame.binary ? "binary, as base64" : "", frame.cut ? "the beginning alone" : ""].filter(Boolean);
  const shown = element("pre", {}, frame.body);
  return marks.length ? element("div", {}, shown, element("small", { class: "soft" }, marks.join("; "))) : shown;
}

function showState() {
  if (latest === null) return;
  const left = latest.ends_at - Date.now() / 1000;
  if (left <= 0) {
    end("The time of this trace is over.");
    return;
  }
  const parts = [`Following ${plural(latest.followed, "connection")}`];
  if (latest.left_out) parts.push(`${number(latest.left_out)} more are left out`);
  if (totals.dropped) parts.push(`${plural(totals.dropped, "frame")} more came than are shown (200 a second)`);
  if (totals.forgotten) parts.push(`the file has the last ${number(KEPT)}`);
  setText(byId("state"), `${parts.join(", ")}; ${age(left)} left.`);
}

function download() {
  const text = kept.map((frame) => `${JSON.stringify(frame)}\n`).join("");
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  element("a", { href: url, download: `trace-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
