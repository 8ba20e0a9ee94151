// In the top line, on every tab: what is being fetched. A click opens the list.

import { button, setText, whenThere } from "./dom.js";
import { onChange, state } from "./store.js";
import { openTab, setAdvanced, setSheet } from "./theme.js";

const ORDER = ["running", "checking", "waiting", "failed", "paused"]; // what is told first

/** The list of models, in front. */
export function openModels() {
  setAdvanced(true);
  if (innerWidth < 720 && document.documentElement.dataset.sheet !== "advanced") setSheet("advanced");
  openTab("models");
}

function wordsOf({ label, state: at, done_bytes: done, total_bytes: total, problem }) {
  if (at === "failed") return `Failed: ${label}`;
  if (at === "running" && problem) return `Trying again: ${label}`;
  const percent = total ? `${Math.floor((100 * done) / total)} %` : "";
  return [at === "paused" ? "Paused" : "", percent, label].filter(Boolean).join(" · ");
}

/** Nobody has a model but the one that ships, and others can be downloaded. */
const isBare = () => Boolean(state.menu) && state.menu.models.filter((one) => one.available).length < 2 && state.menu.models.some((one) => !one.available);

function draw(hint) {
  const open = state.downloads.filter((one) => ORDER.includes(one.state)).sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  const [first] = open;
  hint.hidden = !first && !isBare();
  hint.dataset.state = first?.state || "none";
  const more = open.length > 1 ? ` +${open.length - 1}` : "";
  setText(hint.lastChild, first ? `${wordsOf(first)}${more}` : "More models");
  const label = first ? `Downloads: ${first.label}, ${first.words}` : "More models";
  if (hint.getAttribute("aria-label") !== label) hint.setAttribute("aria-label", label);
  hint.title = first ? first.words : "Models that can be downloaded";
}

/** Put it before everything else of the top line's tools. */
export async function showFetchHint() {
  const tools = await whenThere("fl-tools");
  const hint = button("More models", { icon: "save", kind: "bare", id: "fl-fetch", hidden: true, onclick: openModels });
  tools.prepend(hint);
  onChange(() => draw(hint));
}
