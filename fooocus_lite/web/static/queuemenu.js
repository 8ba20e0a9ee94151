// The menu of a row: everything that can be done to it, with the keys that do it.

import { button, h, setText } from "./dom.js";
import { canEdit, edit } from "./editing.js";
import { besideOf, entryOf, isNext } from "./line.js";
import { makePanel } from "./popover.js";
import { cancel, duplicate, moveBy, moveTo, picturesOf } from "./queueacts.js";
import { state } from "./store.js";

const panel = makePanel("fl-rowmenu", { role: "menu", "aria-label": "For this picture" });
const over = h("p", { role: "status" });
let about = null; // the entry that it is open for, as it is now or was last
let items = []; // [{node, choice}]

const isMany = (entry) => picturesOf(entry) > 1;
const isOne = ({ level }) => level === 2;
const waits = ({ group }) => Boolean(group);
const canGo = (by) => (entry) => waits(entry) && Boolean(besideOf(entry, by));

/** What can be done to an entry: its words, what it does, its key, and whether it can be done now; null is a line. */
const CHOICES = [
  { words: () => "Edit settings…", shape: "pencil", run: edit, can: canEdit },
  { words: () => "Duplicate", shape: "copy", run: (entry) => duplicate(entry, false), can: waits },
  { words: () => "Duplicate with a new seed", shape: "dice", run: (entry) => duplicate(entry, true), can: waits },
  null,
  { words: (entry) => (isOne(entry) ? "Move to the front of the queue" : "Move to the front"), shape: "first", run: (entry) => moveTo(entry, "first"), can: (entry) => waits(entry) && (isOne(entry) ? !isNext(entry) : canGo(-1)(entry)) },
  { words: (entry) => (isOne(entry) ? "Move up in its batch" : "Move up"), shape: "up", run: (entry) => moveBy(entry, -1), keys: "Alt+↑", can: canGo(-1) },
  { words: (entry) => (isOne(entry) ? "Move down in its batch" : "Move down"), shape: "down", run: (entry) => moveBy(entry, 1), keys: "Alt+↓", can: canGo(1) },
  { words: (entry) => (isOne(entry) ? "Move to the end of the queue" : "Move to the end"), shape: "last", run: (entry) => moveTo(entry, "last"), can: (entry) => waits(entry) && (isOne(entry) ? state.waiting > 1 : canGo(1)(entry)) },
  null,
  { words: (entry) => (isMany(entry) ? `Cancel ${picturesOf(entry)} pictures` : "Cancel"), shape: "close", run: cancel, keys: "Del", can: () => true },
];

function makeItem(choice) {
  const node = button(choice.words(about), { icon: choice.shape, kind: "bare fl-row", role: "menuitem", onclick: () => {
    if (node.hasAttribute("aria-disabled")) return;
    panel.hidePopover();
    choice.run(about);
  } });
  if (choice.keys) node.append(h("kbd", { textContent: choice.keys, "aria-hidden": "true" }));
  return { node, choice };
}

panel.addEventListener("keydown", (event) => {
  const all = items.map(({ node }) => node);
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[to % all.length].focus();
});

/** Keep it true while it is open: the line goes on. Nothing in it moves, as a finger may be on its way. */
export function keepMenu() {
  if (!about || !panel.matches(":popover-open")) return;
  const now = entryOf(about.key);
  about = now ?? about;
  for (const { node, choice } of items) {
    setText(node.querySelector("span"), choice.words(about));
    if (now && choice.can(now)) node.removeAttribute("aria-disabled");
    else node.setAttribute("aria-disabled", "true");
  }
  setText(over, now ? "" : "It waits no more.");
}

/** Open it at the button, or the row, that asked. */
export function openMenu(entry, opener) {
  about = entry;
  const choices = waits(entry) ? CHOICES : CHOICES.slice(-1);
  items = choices.filter(Boolean).map(makeItem);
  const nodes = items.map(({ node }) => node);
  panel.replaceChildren(...choices.map((choice) => (choice ? nodes.shift() : h("hr"))), over);
  panel.openAt(opener);
  keepMenu();
  items[0].node.focus();
}
