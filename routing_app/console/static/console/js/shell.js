// Around every page: the state of the socket, the theme, the menu on narrow screens.

import { onState } from "./socket.js";
import { byId, setText } from "./dom.js";

const STATES = { idle: "", connecting: "connecting", live: "live", reconnecting: "reconnecting …" };
const THEMES = ["auto", "light", "dark"];

onState(showState);
// Pages that read REST have no socket.
document.addEventListener("polled", ({ detail }) => showState(detail ? "live" : "reconnecting"));

function showState(state) {
  byId("link").dataset.state = state;
  setText(byId("link"), STATES[state]);
  document.body.classList.toggle("stale", state === "reconnecting");
}

const themeButton = byId("theme");
const chosen = () => document.documentElement.dataset.theme ?? "auto";
const nameTheme = () => setText(themeButton, `Theme: ${chosen()}`);
themeButton.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("switchboard-theme", next);
  } catch {
    // it holds for this page alone
  }
  nameTheme();
  document.dispatchEvent(new Event("themechange"));
});
nameTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.dispatchEvent(new Event("themechange"));
});

const menuButton = byId("menu-button");
menuButton.addEventListener("click", () => {
  const open = document.body.classList.toggle("menu-open");
  menuButton.setAttribute("aria-expanded", String(open));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("menu-open")) menuButton.click();
});
