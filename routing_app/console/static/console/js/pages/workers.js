// Workers: their numbers, the settings in which they differ, and an orderly end for one of them.

import { act, byId, confirmed, element, path } from "../dom.js";
import { plural } from "../format.js";
import { call, may } from "../rest.js";
import { watch } from "../socket.js";
import { Workers } from "../workers.js";

const extras = new Map(); // id of a worker -> { button, differs }
const workers = new Workers(byId("workers"), more, "h2");

watch("workers", {}, show, (error) => {
  byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message));
});

function more(worker) {
  const differs = element("div");
  const foot = element("div", { class: "buttons" });
  if (may("connections")) foot.append(element("a", { class: "button quiet", href: path("connections/", { worker: worker.id }) }, "Connections"));
  const button = element("button", { type: "button", class: "danger quiet", "data-act": "drain" }, "Drain");
  if (may("drain")) foot.append(button);
  button.addEventListener("click", () => drain(worker, button));
  extras.set(worker.id, { button, differs });
  return element("div", { class: "stack" }, differs, foot);
}

async function drain(worker, button) {
  const text = "It takes no more clients, closes those that it has with 1012, so that they come back to another worker, and ends. A service manager starts it again; where none does, it stays away.";
  if (await confirmed(`Drain ${worker.host}, pid ${worker.pid}?`, text, "Drain")) {
    await act(button, () => call("POST", `workers/${encodeURIComponent(worker.id)}/drain`), "It drains.");
  }
}

function show(data) {
  byId("problem").replaceChildren();
  workers.show(data.workers, data.at);
  for (const worker of data.workers) {
    const { button, differs } = extras.get(worker.id);
    if (worker.state !== "serving") button.disabled = true;
    showDifferences(differs, worker);
  }
}

function showDifferences(target, worker) {
  const found = Object.entries(worker.differs ?? {});
  const mark = JSON.stringify(found);
  if (target.dataset.shown === mark) return;
  target.dataset.shown = mark;
  if (found.length === 0) {
    target.replaceChildren();
    return;
  }
  const title = `${plural(found.length, "setting")} not as on the worker that serves this page`;
  const list = element("dl", { class: "facts" }, ...found.flatMap(([name, value]) => [
    element("dt", {}, element("code", {}, name)),
    element("dd", {}, value || "empty"),
  ]));
  target.replaceChildren(element("details", {}, element("summary", { class: "warn" }, title), list));
}
