// What ended, newest first: done, failed with the reason, cancelled; and a way to have it again.

import { call, thumbUrl } from "./api.js";
import { button, duration, h, setText } from "./dom.js";
import { say } from "./form.js";
import { onEnd, onNewLine } from "./live.js";
import { clear, showProblem } from "./notice.js";
import { change, state } from "./store.js";
import { useSettings } from "./taking.js";
import { setQueueOpen, setSheet } from "./theme.js";
import { makeList } from "./vlist.js";

const PAGE = 50;
const KINDS = [["", "All"], ["finished", "Done"], ["failed", "Failed"], ["cancelled", "Cancelled"]];
const STATES = { finished: "done", failed: "failed", cancelled: "cancelled" };
const parts = new WeakMap(); // row -> its parts
let list, none, choice;
let tasks = []; // ended, newest first, as far as asked for
let next = ""; // where the next page begins; null = all are here
let isAsking = false;
let isStale = false; // something has ended, or another kind was chosen, since the first page was asked for
let isOpen = false;

const pathOf = (before) => `/v1/history?limit=${PAGE}${choice.value ? `&state=${choice.value}` : ""}${before ? `&before=${encodeURIComponent(before)}` : ""}`;

/** The next page; or, to begin anew, the first. */
async function load(isAnew = false) {
  isStale ||= isAnew;
  if (isAsking || (next === null && !isStale)) return;
  isAsking = true;
  const fromTop = isStale;
  const asked = tasks;
  isStale = false;
  try {
    const answer = await call("GET", pathOf(fromTop ? "" : next));
    if (tasks === asked) put(answer, fromTop); // else it is emptied, and this is of what was chosen before
  } catch (error) {
    if (error.code !== "offline") showProblem(error, { key: "queue" });
  } finally {
    isAsking = false;
  }
  if (isStale) load();
}

/** What is here already stays, so that a person who scrolled down stays there. */
function put(answer, isAnew) {
  const known = new Set(tasks.map((one) => one.id));
  const fresh = answer.tasks.filter((one) => !known.has(one.id));
  const joins = isAnew && fresh.length < answer.tasks.length; // else there may be a gap, and the list begins anew
  if (!isAnew) tasks = [...tasks, ...fresh];
  else tasks = joins ? [...fresh, ...tasks] : answer.tasks;
  if (!joins) ({ next } = answer);
  draw();
}

function draw() {
  none.hidden = tasks.length > 0 || next !== null;
  list.draw();
}

async function take({ id }) {
  try { useSettings(await call("GET", `/v1/tasks/${id}`)); } catch (error) { showProblem(error, { key: "queue" }); }
}

function again(task) {
  call("POST", `/v1/tasks/${task.id}/retry`).then(() => { clear("task"); say("Lined up again"); }, (error) => showProblem(error, { key: "queue" }));
}

/** All that is known of a failure: a row has room for its beginning. */
function tellWhy(task) {
  showProblem(task.error, { key: "queue", action: { words: "Try again", run: () => { clear("queue"); again(task); } } });
}

async function look(task) {
  try {
    const visit = state.pictures.find((one) => one.id === task.id) || (await call("GET", `/v1/pictures/${task.id}`));
    setSheet("");
    setQueueOpen(false);
    change({ visit, selected: task.id });
  } catch (error) {
    showProblem(error, { key: "queue" });
  }
}

const taskOf = (key) => tasks.find((one) => one.id === key);

function makeRow(at) {
  const tool = (words, shape, run) => button(words, { icon: shape, kind: "icon small bare", title: words, onclick: () => {
    const task = taskOf(row.dataset.key);
    if (task) run(task);
  } });
  const part = {
    thumb: h("span", { className: "thumb", "aria-hidden": "true" }),
    what: h("div", { className: "what" }),
    how: h("div", { className: "how" }),
    tools: [tool("Show", "open", look), tool("Why", "info", tellWhy), tool("Use settings", "reuse", take), tool("Draw again", "repeat", again)],
  };
  const row = h("div", { role: "row", className: "fl-line", dataset: { at } }, part.thumb,
    h("div", { role: "gridcell", className: "said" }, part.what, part.how),
    h("div", { role: "gridcell", className: "tools" }, ...part.tools));
  parts.set(row, part);
  return row;
}

/** "failed · There is not enough memory." */
function howOf(task) {
  const when = new Date(task.finished_at * 1000);
  const isToday = when.toDateString() === new Date().toDateString();
  const time = isToday ? when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : when.toLocaleDateString();
  const took = task.state === "finished" && task.took ? duration(task.took) : "";
  const owner = task.owner === state.user.name ? "" : task.owner;
  return [STATES[task.state], task.error?.problem, took, time, owner].filter(Boolean).join(" · ");
}

function drawRow(row, at) {
  const task = tasks[at];
  const part = parts.get(row);
  row.toggleAttribute("data-gap", !task);
  if (!task) { setText(part.what, "…"); return; }
  const words = task.words || "(no words)";
  row.dataset.state = task.state;
  row.setAttribute("aria-posinset", String(at + 1));
  row.setAttribute("aria-setsize", String(next === null ? tasks.length : -1));
  setText(part.what, words);
  part.what.title = words;
  setText(part.how, howOf(task));
  part.how.title = [howOf(task), task.error?.hint].filter(Boolean).join("\n");
  if (task.state === "finished" && part.thumb.tagName !== "IMG") {
    const img = h("img", { className: "thumb", alt: "", loading: "lazy", decoding: "async", src: thumbUrl(task.id) });
    part.thumb.replaceWith(img);
    part.thumb = img;
  } else if (part.thumb.tagName !== "IMG") setText(part.thumb, task.state === "failed" ? "!" : "–");
  const [show, why, , again] = part.tools;
  show.hidden = task.state !== "finished";
  why.hidden = !task.error;
  setText(again.lastChild, again.title = task.state === "finished" ? "Draw again" : "Try again");
  for (const node of part.tools) node.setAttribute("aria-label", `${node.title}: ${words}`);
}

/** Show it, or stop to; then nothing is asked for. */
export function setHistory(isShown) {
  isOpen = isShown;
  if (isShown) load(true);
}

/** Fill `place`; gives the choice of what is shown, which belongs into the header. */
export function makeHistory(place) {
  none = h("p", { className: "fl-none", hidden: true, textContent: "Nothing has ended yet." });
  choice = h("select", { className: "fl-kinds", "aria-label": "Which of them", onchange: () => { tasks = []; next = ""; draw(); load(true); } },
    ...KINDS.map(([value, words]) => h("option", { value, textContent: words })));
  const scroll = h("div", { className: "fl-scroll" }, none);
  place.append(scroll);
  list = makeList(scroll, { id: "fl-past", label: "History" }, {
    count: () => tasks.length + (next ? 1 : 0),
    keyAt: (at) => tasks[at]?.id ?? "more",
    make: makeRow,
    draw: drawRow,
    seen: (first, last) => { if (next && last > tasks.length) load(); },
    press: (event, key) => {
      const task = taskOf(key);
      if (!task || event.key !== "Enter" || event.target.getAttribute("role") !== "row") return;
      if (task.state === "finished") look(task);
      else if (task.error) tellWhy(task);
      else take(task);
    },
  });
  const anew = () => { if (isOpen) load(true); };
  onEnd(anew);
  onNewLine(anew);
  return choice;
}
