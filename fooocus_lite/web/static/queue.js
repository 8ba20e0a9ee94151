// The queue: what is being drawn and what waits, one row a batch, with a way to change each; and what ended.

import { button, duration, h, number, setText, whenThere } from "./dom.js";
import { edit } from "./editing.js";
import { makeHistory, setHistory } from "./history.js";
import { entryAt, entryOf, followLine, isLineKnown, isOpened, lineLength, nowInSight, parentOf, setOpened } from "./line.js";
import { pauseButton, showPaused } from "./pause.js";
import { makePopover } from "./popover.js";
import { cancel, cancelAll, moveBy, moveTo } from "./queueacts.js";
import { letDrag } from "./queuedrag.js";
import { exportQueue, pickQueue } from "./queuefile.js";
import { keepMenu, openMenu } from "./queuemenu.js";
import { drawRow, makeRow } from "./queuerow.js";
import { showRunningRepeats } from "./repeats.js";
import { onChange, running, state } from "./store.js";
import { isQueueOpen, setQueueOpen } from "./theme.js";
import { makeList } from "./vlist.js";

let list, small, none, unknown, section;

function titleWords() {
  const line = state.waiting - state.held;
  const time = state.secondsLeft && !state.paused ? `about ${duration(state.secondsLeft)}` : "";
  const words = line ? [state.paused ? "paused" : "", `${number(line)} waiting`, state.ahead ? `${number(state.ahead)} of others first` : "", time] : [];
  if (state.held) words.push(`${number(state.held)} for a download`);
  return words.length ? ` (${words.filter(Boolean).join(" · ")})` : state.paused ? " (paused)" : "";
}

// What a row does.

const onEntry = (run) => (row, opener) => { const entry = entryOf(row.dataset.key); if (entry) run(entry, opener); };
const fold = ({ group }) => setOpened(group.batch_id, !isOpened(group.batch_id));
const ACTS = { fold: onEntry(fold), edit: onEntry(edit), first: onEntry((entry) => moveTo(entry, "first")), menu: onEntry(openMenu), cancel: onEntry(cancel) };

/** The keys of a row: Enter, Delete, Alt with ↑ and ↓, → and ← to unfold a batch and back. */
function press(event, rowKey) {
  const entry = entryOf(rowKey);
  if (!entry?.row || event.ctrlKey || event.metaKey) return;
  const { key, altKey, target } = event;
  const isRow = target.getAttribute("role") === "row";
  const isMany = entry.level === 1 && entry.group?.waiting > 1;
  if (altKey && (key === "ArrowUp" || key === "ArrowDown")) moveBy(entry, key === "ArrowUp" ? -1 : 1);
  else if (altKey) return;
  else if (key === "Delete") cancel(entry);
  else if (key === "Enter" && isRow) openMenu(entry, target);
  else if (key === "ArrowRight" && isMany && !isOpened(entry.group.batch_id)) fold(entry);
  else if (key === "ArrowLeft" && isMany && isOpened(entry.group.batch_id)) fold(entry);
  else if (key === "ArrowLeft" && entry.level === 2) list.focusAt(list.find(parentOf(entry).key));
  else return;
  event.preventDefault();
}

// The section.

function showPast(isShown) {
  section.toggleAttribute("data-past", isShown);
  const toggle = document.getElementById("fl-toggle-past");
  toggle.setAttribute("aria-pressed", String(isShown));
  setHistory(isShown);
  draw();
}

function moreMenu() {
  const row = (words, shape, run, rest = {}) => button(words, { icon: shape, kind: "bare fl-row", ...rest, onclick: () => { menu.panel.hidePopover(); run(); } });
  const menu = makePopover("fl-queuemenu", "More for the queue", "dots", () => {
    const none = { "aria-disabled": state.waiting ? null : "true" };
    menu.panel.replaceChildren(
      row("Import prompts or a queue…", "folder", pickQueue),
      h("p", { textContent: "A text with one prompt a line, or a queue that was exported. It can be dropped here, too." }),
      row("Export the queue", "save", () => exportQueue("json"), none),
      row("Export the prompts as text", "save", () => exportQueue("text"), none),
      h("hr"),
      row("Cancel everything that waits", "trash", cancelAll, none));
  });
  menu.opener.classList.add("small");
  return menu;
}

function makeHeader(kinds) {
  const past = button("", { icon: "clock", kind: "icon small bare", id: "fl-toggle-past", label: "History", title: "What ended", "aria-pressed": "false", onclick: () => showPast(!section.hasAttribute("data-past")) });
  const open = button("", { icon: "open", kind: "icon small bare fl-wide-only", id: "fl-toggle-queue", "aria-expanded": "false", onclick: () => setQueueOpen(!isQueueOpen()) });
  past.append(h("span", { className: "fl-phone-only", textContent: "History" }));
  const menu = moreMenu();
  return h("header", {}, h("h2", {}, h("span", { className: "now", textContent: "Queue" }), h("span", { className: "past", textContent: "History" }), small), kinds,
    h("div", { className: "fl-tools" }, pauseButton(), past, menu.opener, menu.panel, open));
}

function draw() {
  const isPast = section.hasAttribute("data-past");
  setText(small, isPast ? "" : titleWords());
  small.title = titleWords();
  const isEmpty = !lineLength() && !state.waiting && !running();
  none.hidden = !isEmpty || !isLineKnown();
  unknown.hidden = lineLength() > 0 || isLineKnown();
  keepMenu();
  if (!isPast) list.draw();
}

/** Fill the queue's place on the shelf and keep it true. */
export async function showQueue() {
  const shelf = await whenThere("fl-shelf");
  small = h("small");
  none = h("p", { className: "fl-none", textContent: "Nothing is waiting. Press Generate as often as you like; pictures line up here." });
  unknown = h("div", { className: "fl-unknown", "aria-hidden": "true" }, h("i"), h("i"));
  section = h("section", { id: "fl-queue", "aria-label": "Queue" });
  const scroll = h("div", { className: "fl-scroll" }, none, unknown);
  const signs = h("div", { className: "fl-signs" });
  const now = h("div", { className: "fl-now" }, signs, scroll);
  const past = h("div", { className: "fl-then" });
  section.append(makeHeader(makeHistory(past)), now, past);
  list = makeList(scroll, { id: "fl-rows", label: "Queue" }, {
    count: lineLength,
    keyAt: (at) => entryAt(at)?.key ?? `not here ${at}`,
    make: () => makeRow(ACTS),
    draw: (row, at) => drawRow(row, entryAt(at)),
    seen: nowInSight,
    press,
  });
  letDrag(list, scroll);
  shelf.append(section);
  setQueueOpen(false);
  showPaused(signs);
  showRunningRepeats(signs);
  followLine({ draw, seen: () => scroll.offsetParent !== null });
}

export const queueLength = () => state.waiting + (running() ? 1 : 0);
