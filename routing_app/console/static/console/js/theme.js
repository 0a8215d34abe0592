// Before the page is drawn: the theme that was chosen here, so that it does not flash in the other one.
{
  let kept = null;
  try {
    kept = localStorage.getItem("switchboard-theme");
  } catch {
    // storage is switched off: the system's theme
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
}
