// Dark or light: the system's choice until a person makes one. And panels that stay as they were left.

import { button, icon, whenThere } from "./dom.js";
import { keep, recall } from "./memory.js";

const root = document.documentElement;
const wantsDark = window.matchMedia("(prefers-color-scheme: dark)");

function apply() {
  const chosen = recall("fl.theme") || (wantsDark.matches ? "dark" : "light");
  root.dataset.theme = chosen;
  document.body.classList.toggle("dark", chosen === "dark"); // Gradio's own mark
  return chosen;
}

/** The ☾ button. */
export function themeButton() {
  const toggle = button("", { kind: "icon bare", onclick: () => {
    keep("fl.theme", root.dataset.theme === "dark" ? "light" : "dark");
    draw();
  } });
  const draw = () => {
    const dark = apply() === "dark";
    toggle.replaceChildren(icon(dark ? "sun" : "moon"));
    toggle.setAttribute("aria-label", dark ? "Light theme" : "Dark theme");
    toggle.title = toggle.getAttribute("aria-label");
  };
  wantsDark.addEventListener("change", draw);
  draw();
  setTimeout(draw, 500); // Gradio marks the body itself while it starts
  return toggle;
}

/** Whether the Advanced column is open; on narrow windows it starts closed. */
export function isAdvancedOpen() {
  return root.dataset.advanced !== "closed";
}

/** Open or fold away the Advanced column, and remember it. */
export function setAdvanced(open) {
  root.dataset.advanced = open ? "open" : "closed";
  keep("fl.advanced", root.dataset.advanced);
  document.getElementById("fl-toggle-advanced")?.setAttribute("aria-expanded", String(open));
}

/** Bring a tab of the Advanced column to the front. */
export function openTab(name) {
  document.querySelector(`#fl-advanced [role="tab"][data-tab-id="${CSS.escape(name)}"]`)?.click();
}

/** The tab that was in front at the last visit comes back. */
export async function keepTab() {
  const column = await whenThere("fl-advanced");
  column.addEventListener("click", ({ target }) => {
    const tab = target.closest('[role="tab"]');
    if (tab) keep("fl.tab", tab.dataset.tabId);
  });
  await whenThere("fl-tab-settings");
  const name = recall("fl.tab");
  if (name) openTab(name);
}

/** The queue over the whole left side, or a strip of it. */
export function setQueueOpen(isOpen) {
  root.dataset.queue = isOpen ? "open" : "";
  const toggle = document.getElementById("fl-toggle-queue");
  if (!toggle) return;
  toggle.setAttribute("aria-expanded", String(isOpen));
  toggle.title = isOpen ? "Back to the picture" : "Show the whole queue";
  toggle.setAttribute("aria-label", toggle.title);
}

export const isQueueOpen = () => root.dataset.queue === "open";

/** On a phone: the one sheet that is open, or none. */
export function setSheet(name) {
  root.dataset.sheet = root.dataset.sheet === name ? "" : name;
  for (const tab of document.querySelectorAll("#fl-bar [data-sheet]")) {
    tab.setAttribute("aria-expanded", String(tab.dataset.sheet === root.dataset.sheet));
  }
}
