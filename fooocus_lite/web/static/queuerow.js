// One row of the queue: a batch, or a picture of one that is unfolded.

import { button, duration, h, icon, setText } from "./dom.js";
import { canEdit } from "./editing.js";
import { isGoing, isOpened, together } from "./line.js";
import { waitingWords } from "./models.js";
import { picturesOf } from "./queueacts.js";
import { progressWords } from "./stage.js";
import { state } from "./store.js";

const parts = new WeakMap(); // row -> its parts

/** A row; `act` has what its buttons do, each called with the row. */
export function makeRow(act) {
  const tool = (name, shape, kind = "") => button("", { icon: shape, kind: `icon small bare ${kind}`.trim(), onclick: (event) => act[name](row, event.currentTarget) });
  const part = {
    grip: h("span", { className: "grip", "aria-hidden": "true", title: "Drag to another place" }, icon("grip")),
    thumb: h("span", { className: "thumb", "aria-hidden": "true" }),
    what: h("div", { className: "what" }),
    how: h("div", { className: "how" }),
    tools: { fold: tool("fold", "down", "fold"), edit: tool("edit", "pencil", "fl-open-only"), first: tool("first", "first", "fl-open-only"), menu: tool("menu", "dots"), cancel: tool("cancel", "close") },
  };
  part.tools.menu.setAttribute("aria-haspopup", "menu");
  const row = h("div", { role: "row", className: "fl-line" },
    part.grip, part.thumb,
    h("div", { role: "gridcell", className: "said" }, part.what, part.how),
    h("div", { role: "gridcell", className: "tools" }, ...Object.values(part.tools)));
  parts.set(row, part);
  return row;
}

const NAMES = { fold: "Show its pictures", edit: "Edit", first: "Move to the front", menu: "More for", cancel: "Cancel" };

function nameTools({ tools }, entry, words) {
  const count = picturesOf(entry);
  for (const [name, node] of Object.entries(tools)) {
    const short = name === "cancel" && count > 1 ? `Cancel ${count} pictures` : NAMES[name];
    const long = `${short}: ${words}`;
    if (node.getAttribute("aria-label") === long) continue;
    node.setAttribute("aria-label", long);
    node.title = short;
  }
}

/** Which it is in line: where several users take turns, the program knows. */
const placeOf = ({ place, row }) => state.places[row.id] || place;

/** What it waits for; its place stands before it. */
function turnOf(entry) {
  if (entry.row.waits_for) return waitingWords(entry.row.waits_for);
  return placeOf(entry) === 1 ? "next" : "";
}

function countOf({ group, row }) {
  const here = together(group);
  if (here < group.waiting) return `${here} here, ${group.waiting - here} further down`;
  if (group.waiting === 1 && row.of === 1) return "";
  if (row.of > group.waiting) return row.of > 1 && group.waiting === 1 ? `${row.index} of ${row.of}` : `${group.waiting} of ${row.of} left`;
  return `${group.waiting} pictures`;
}

/** The second line of a row. */
function howOf(entry) {
  const { row, group, level } = entry;
  const rest = [row.owner === state.user.name ? "" : row.owner || "no user", row.styles.join(", ")].filter(Boolean).join(" · ");
  const time = group?.seconds_left && level === 1 && !state.paused ? `done in ${duration(group.seconds_left)}` : "";
  if (isGoing(entry) && row.state !== "running") return "cancelled";
  if (row.state === "running") return [progressWords(row), group ? `${group.waiting} more${time ? `, ${time}` : ""}` : "", rest].filter(Boolean).join(" · ");
  if (level === 2) return [entry.pos > together(group) ? "further down" : "", row.seed === null ? "" : `seed ${row.seed}`, rest].filter(Boolean).join(" · ");
  return [turnOf(entry), countOf(entry), time, rest].filter(Boolean).join(" · ") || `${row.width}×${row.height}`;
}

function drawThumb(part, entry) {
  const { row, level } = entry;
  const preview = row.state === "running" && state.preview?.id === row.id ? state.preview.url : "";
  if (preview) {
    if (part.thumb.tagName !== "IMG") {
      const img = h("img", { className: "thumb", alt: "" });
      part.thumb.replaceWith(img);
      part.thumb = img;
    }
    if (part.thumb.src !== preview) part.thumb.src = preview;
    return;
  }
  if (part.thumb.tagName === "IMG" && row.state !== "running") { // a batch whose next picture is not begun
    const span = h("span", { className: "thumb", "aria-hidden": "true" });
    part.thumb.replaceWith(span);
    part.thumb = span;
  }
  if (part.thumb.tagName === "IMG") return;
  const mark = level === 2 ? String(row.index) : row.waits_for ? "↓" : String(placeOf(entry));
  setText(part.thumb, row.state === "running" ? "▶" : mark);
  part.thumb.toggleAttribute("data-long", mark.length > 3);
}

/** Keep the row true; `entry` is null while it is not here yet. */
export function drawRow(row, entry) {
  const part = parts.get(row);
  const isHere = Boolean(entry?.row);
  row.toggleAttribute("data-gap", !isHere);
  if (!isHere) { setText(part.what, "…"); return; }
  const { group, level, pos, size } = entry;
  const words = level === 2 ? `Picture ${entry.row.index} of ${entry.row.of}` : entry.row.words || "(no words)";
  const isMany = level === 1 && Boolean(group) && (group.waiting > 1 || isOpened(group.batch_id));
  row.dataset.state = entry.row.state;
  row.dataset.level = level;
  row.toggleAttribute("data-many", isMany && entry.row.state !== "running");
  row.toggleAttribute("data-going", Boolean(isGoing(entry)));
  for (const [name, value] of [["level", level], ["posinset", pos], ["setsize", size], ["expanded", isMany ? isOpened(group.batch_id) : null]]) {
    if (value === null) row.removeAttribute(`aria-${name}`);
    else if (row.getAttribute(`aria-${name}`) !== String(value)) row.setAttribute(`aria-${name}`, String(value));
  }
  setText(part.what, words);
  part.what.title = level === 2 ? "" : entry.row.words;
  const how = howOf(entry);
  setText(part.how, how);
  part.how.title = how;
  drawThumb(part, entry);
  part.grip.toggleAttribute("data-off", !group || level === 2);
  part.tools.fold.hidden = !isMany;
  part.tools.edit.hidden = !canEdit(entry);
  part.tools.first.hidden = !group || level === 2;
  nameTools(part, entry, entry.row.words || "no words");
}
