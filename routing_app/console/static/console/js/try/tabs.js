// Tabs as ARIA has them: arrows, Home and End move between them, Tab goes on to the panel.

const MOVES = {
  ArrowRight: (index, count) => (index + 1) % count,
  ArrowLeft: (index, count) => (index - 1 + count) % count,
  Home: () => 0,
  End: (index, count) => count - 1,
};

// Make the buttons of a `tablist`, which name their panels in `aria-controls`, switch between these.
// `onselect(tab)` is called after each switch. Returns `select(tab)`.
export function tabs(list, onselect = () => {}) {
  const all = () => [...list.querySelectorAll('[role="tab"]')];

  function select(tab) {
    for (const one of all()) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
    }
    onselect(tab);
  }

  list.addEventListener("click", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab) select(tab);
  });
  list.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const tabs = all();
    const tab = tabs[move(tabs.indexOf(document.activeElement), tabs.length)];
    select(tab);
    tab.focus();
  });
  return select;
}
