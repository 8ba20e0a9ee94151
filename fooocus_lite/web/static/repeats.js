// "Run again and again": the same settings with a new seed each time, so many times or until somebody stops it.

import { call } from "./api.js";
import { button, h, icon, setText, whenThere } from "./dom.js";
import { refuse, say, toRecipe } from "./form.js";
import { look } from "./line.js";
import { keep, recall } from "./memory.js";
import { makePopover } from "./popover.js";
import { ask } from "./queueacts.js";
import { onChange, state } from "./store.js";

const TIMES = "fl.times";
const MOST = 100_000; // as fooocus_lite.web.queue_schemas.RepeatIn
const USUAL = "10";

/** "3 of 10", "3 so far" */
const countWords = ({ begun, times }) => (times === null ? `${begun} so far` : `${begun} of ${times}`);

async function start(times, close) {
  const { draft } = state;
  try {
    await call("POST", "/v1/repeats", { recipe: toRecipe(draft), times });
    say(times === null ? "Runs until you stop it" : `Runs ${times} times`);
    close();
  } catch (error) {
    close();
    refuse(error, draft);
  }
  look();
}

const stopOne = (id) => ask("DELETE", `/v1/repeats/${encodeURIComponent(id)}`);

function makeRow({ id, words }) {
  const name = words || "(no words)";
  return h("li", { dataset: { id } }, icon("repeat"),
    h("div", {}, h("div", { className: "what", textContent: name, title: name }), h("div", { className: "how" })),
    button("Stop", { kind: "small bare", label: `Stop repeating: ${name}`, onclick: () => stopOne(id) }));
}

/** It was stopped by an error: its button takes the word away. */
function markStopped(row) {
  row.className = "bad";
  row.querySelector("svg").replaceWith(icon("warn"));
  const ok = row.querySelector("button");
  setText(ok.lastChild, "OK");
  ok.setAttribute("aria-label", `Dismiss: ${row.querySelector(".what").textContent}`);
}

/** Keep one true that runs, waits for a new day, or was stopped by an error. */
function drawRow(row, repeat) {
  const isOn = repeat.state !== "stopped"; // what was stopped runs no more
  if (!isOn && !row.className) markStopped(row);
  const how = row.querySelector(".how");
  setText(how, repeat.error ? `${isOn ? "waits" : "stopped"} · ${repeat.error.problem}` : `again and again · ${countWords(repeat)}`);
  how.title = repeat.error?.hint || "";
}

/** Keep a list of them true. A row stays the same element for as long as its repeat is there: a finger may be on its button. */
function listIn(list) {
  const rows = new Map(); // id -> row
  let drawn = "";
  onChange(() => {
    const key = JSON.stringify(state.repeats);
    if (key === drawn) return;
    drawn = key;
    const hadFocus = list.contains(document.activeElement);
    const ids = new Set(state.repeats.map((repeat) => repeat.id));
    for (const [id, row] of rows) if (!ids.has(id)) { row.remove(); rows.delete(id); }
    state.repeats.forEach((repeat, at) => {
      if (!rows.has(repeat.id)) rows.set(repeat.id, makeRow(repeat));
      const row = rows.get(repeat.id);
      if (list.children[at] !== row) list.insertBefore(row, list.children[at]);
      drawRow(row, repeat);
    });
    list.hidden = !rows.size;
    if (hadFocus && !list.contains(document.activeElement)) list.querySelector("button")?.focus();
  });
  return list;
}

/** Above the queue's rows. */
export function showRunningRepeats(place) {
  place.append(listIn(h("ul", { className: "fl-repeats", "aria-label": "Running again and again", hidden: true })));
}

/** The menu at Generate. */
export async function showRepeats() {
  const place = await whenThere("fl-again");
  const number = h("input", { type: "number", min: 1, max: MOST, step: 1, value: recall(TIMES) || USUAL, required: true });
  const close = () => menu.panel.hidePopover();
  const some = button("", { kind: "main", type: "submit" });
  some.append(h("span"));
  const name = () => setText(some.lastChild, `Run ${number.value || "…"} times`);
  number.addEventListener("input", name);
  const submit = (event) => {
    event.preventDefault();
    keep(TIMES, number.value);
    start(Number(number.value), close);
  };
  const running = listIn(h("ul", { className: "fl-repeats", "aria-label": "Running now", hidden: true }));
  const menu = makePopover("fl-againmenu", "Run again and again", "down", name);
  menu.panel.append(h("form", { onsubmit: submit },
    h("h2", { textContent: "Run again and again" }),
    h("p", { textContent: "What the form says now, with a new seed each time. You can change the form and generate other pictures meanwhile." }),
    h("label", { className: "fl-field" }, h("span", { textContent: "How many times" }), number),
    h("div", { className: "fl-choice" }, button("Run forever", { icon: "repeat", onclick: () => start(null, close) }), some)), running);
  place.append(menu.opener, menu.panel);
}
