// The top line, the buttons beside Generate, the line under them, and the phone's bar.

import { button, h, setText, whenThere } from "./dom.js";
import { estimateWords, isBusy } from "./form.js";
import { queueLength } from "./queue.js";
import { cancelRows } from "./queueacts.js";
import { onChange, running, state } from "./store.js";
import { isAdvancedOpen, setAdvanced, setSheet, themeButton } from "./theme.js";
import { deviceWords, workersList } from "./workers.js";

function stateWords() {
  if (!state.connected) return "Reconnecting…";
  if (state.trouble) return state.trouble.problem;
  return deviceWords() || (running() ? "Starting up…" : "Ready");
}

async function showTop() {
  const brand = await whenThere("fl-brand");
  const logo = h("img", { src: "/ui/favicon.svg", alt: "", width: 24, height: 24 });
  brand.append(logo, h("h1", { textContent: "Fooocus Lite" }));
  const tools = await whenThere("fl-tools");
  const words = h("span");
  const device = h("div", { id: "fl-device" }, h("i"), words);
  const advanced = button("Advanced", {
    icon: "sliders", kind: "bare", id: "fl-toggle-advanced", "aria-expanded": String(isAdvancedOpen()),
    onclick: () => setAdvanced(!isAdvancedOpen()),
  });
  tools.append(device, ...workersList(), themeButton(), advanced);
  onChange(() => {
    setText(words, stateWords());
    device.dataset.state = !state.connected || state.trouble ? "away" : running() ? "busy" : "ready";
    device.title = state.trouble?.hint || "";
  });
}

/** Skip this picture. */
export function skip() {
  const now = state.rows.filter((row) => row.state === "running");
  if (now.length) cancelRows(now, "POST", "/v1/skip");
}

/** Stop this batch, also one that waits for the worker to be ready. */
export function stop() {
  if (!isBusy()) return;
  const batch = (running() || state.rows[0])?.batch_id;
  cancelRows(state.rows.filter((row) => row.batch_id === batch), "POST", "/v1/stop");
}

async function showRun() {
  const place = await whenThere("fl-run");
  const status = h("div", { id: "fl-status", role: "status" });
  const skipOne = button("Skip", { title: "Skip this picture (Esc)", onclick: skip });
  const stopAll = button("Stop", { title: "Stop this batch (Alt+S)", onclick: stop });
  place.append(status, skipOne, stopAll);
  onChange(() => {
    setText(status, state.said || estimateWords(state));
    status.title = state.said ? state.said : state.estimate?.memory?.words || "";
    status.toggleAttribute("data-long", !state.said && Boolean(state.estimate?.memory?.is_tight));
    status.toggleAttribute("data-news", Boolean(state.said));
    skipOne.setAttribute("aria-disabled", String(!running()));
    stopAll.setAttribute("aria-disabled", String(!isBusy()));
  });
}

async function showWarning() {
  const place = await whenThere("fl-warning");
  let shown = "";
  onChange(() => {
    const [first = "", ...more] = state.estimate?.warnings || [];
    const wanted = [first, ...more].join("\n");
    if (shown === wanted) return;
    shown = wanted;
    if (!more.length) { setText(place, first); return; } // one line, and the others fold out: none goes unsaid
    place.replaceChildren(h("details", {},
      h("summary", { textContent: `${first} (${more.length} more)` }), ...more.map((words) => h("p", { textContent: words }))));
  });
}

async function showBar() {
  const bar = await whenThere("fl-bar");
  const tab = (words, shape, name) => button(words, { icon: shape, kind: "bare", "aria-expanded": "false", dataset: { sheet: name }, onclick: () => setSheet(name) });
  const queue = tab("Queue", "list", "queue");
  const close = button("Close", { icon: "close", kind: "small bare", id: "fl-sheet-close", onclick: () => setSheet("") });
  bar.append(queue, tab("Pictures", "grid", "pictures"), tab("Advanced", "sliders", "advanced"), close);
  onChange(() => setText(queue.querySelector("span"), isBusy() ? `Queue ${queueLength().toLocaleString("en", { notation: "compact" })}` : "Queue"));
}

/** Everything of the frame that lives. */
export function showFrame() {
  return Promise.all([showTop(), showRun(), showWarning(), showBar()]);
}
