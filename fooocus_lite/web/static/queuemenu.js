// The menu of a row: everything that can be done to it, with the keys that do it.

import { button, h } from "./dom.js";
import { edit } from "./editing.js";
import { besideOf } from "./line.js";
import { makePanel } from "./popover.js";
import { cancel, duplicate, moveBy, moveTo, picturesOf } from "./queueacts.js";

const panel = makePanel("fl-rowmenu", { role: "menu", "aria-label": "For this picture" });

/** What can be done to an entry: [words, icon, what it does, its key, whether it can be done now]. */
function choicesOf(entry) {
  const { group, level } = entry;
  const count = picturesOf(entry);
  const isMany = count > 1;
  const up = Boolean(besideOf(entry, -1));
  const down = Boolean(besideOf(entry, 1));
  const waits = [
    ["Edit settings…", "pencil", () => edit(entry)],
    ["Duplicate", "copy", () => duplicate(entry, false)],
    ["Duplicate with a new seed", "dice", () => duplicate(entry, true)],
    null,
    level === 1 && ["Move to the front", "first", () => moveTo(entry, "first"), "", up],
    ["Move up", "up", () => moveBy(entry, -1), "Alt+↑", up],
    ["Move down", "down", () => moveBy(entry, 1), "Alt+↓", down],
    level === 1 && ["Move to the end", "last", () => moveTo(entry, "last"), "", down],
    null,
  ];
  const end = [isMany ? `Cancel ${count} pictures` : "Cancel", "close", () => cancel(entry), "Del"];
  return [...(group ? waits : []), end].filter((one) => one !== false);
}

function item([words, shape, run, key = "", can = true]) {
  const one = button(words, { icon: shape, kind: "bare fl-row", role: "menuitem", "aria-disabled": can ? undefined : "true", onclick: () => {
    if (!can) return;
    panel.hidePopover();
    run();
  } });
  if (key) one.append(h("kbd", { textContent: key, "aria-hidden": "true" }));
  return one;
}

panel.addEventListener("keydown", (event) => {
  const all = [...panel.querySelectorAll("button")];
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[to % all.length].focus();
});

/** Open it at the button, or the row, that asked. */
export function openMenu(entry, opener) {
  panel.replaceChildren(...choicesOf(entry).map((one) => (one ? item(one) : h("hr"))));
  panel.openAt(opener);
  panel.querySelector("button")?.focus();
}
