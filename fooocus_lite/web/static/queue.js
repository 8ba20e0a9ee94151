// The queue: what is being drawn and what waits, with a way out of each.

import { call } from "./api.js";
import { button, duration, h, setText, whenThere } from "./dom.js";
import { waitingWords } from "./models.js";
import { showProblem } from "./notice.js";
import { progressWords } from "./stage.js";
import { change, onChange, running, state } from "./store.js";

const nodes = new Map(); // id -> {item, what, how, thumb}
let list, title, none, clearAll, more;

function titleWords() {
  const line = state.waiting - state.held;
  const words = line ? [`${line} waiting`, state.ahead ? `${state.ahead} of others first` : "", state.secondsLeft ? `about ${duration(state.secondsLeft)}` : ""] : [];
  if (state.held) words.push(`${state.held} for a download`);
  return words.length ? ` (${words.filter(Boolean).join(" · ")})` : "";
}

/** Ask for the end of some pictures: their rows say so at once, and take it back if the program refuses. */
export function cancelRows(rows, method, path) {
  const ids = new Set(rows.map((row) => row.id));
  const mark = (cancelling) => change({ rows: state.rows.map((one) => (ids.has(one.id) ? { ...one, cancelling } : one)) });
  mark(true);
  call(method, path).catch((error) => {
    mark(false);
    showProblem(error, { key: "queue" });
  });
}

function makeRow(row) {
  const thumb = h("span", { className: "thumb" });
  const what = h("div", { className: "what", textContent: row.words || "(no words)", title: row.words });
  const how = h("div", { className: "how" });
  const out = button("", { icon: "close", kind: "icon small bare", label: `Cancel: ${row.words || "no words"}`, title: "Cancel", onclick: () => cancelRows([row], "DELETE", `/v1/tasks/${row.id}`) });
  const item = h("li", { dataset: { id: row.id } }, thumb, h("div", {}, what, how), out);
  return { item, how, thumb, out };
}

function drawRow(node, row, place) {
  node.item.dataset.state = row.state;
  const turn = `${place === 1 ? "next" : `${place}. in line`}${row.of > 1 ? ` · ${row.index} of ${row.of}` : ""}`;
  let how = row.waits_for ? waitingWords(row.waits_for) : turn;
  if (row.state === "running") how = progressWords(row);
  else if (row.cancelling) how = "cancelled";
  if (row.owner !== state.user.name) how += ` · ${row.owner || "no user"}`;
  if (row.styles.length) how += ` · ${row.styles.join(", ")}`;
  setText(node.how, how);
  node.how.title = row.waits_for ? how : "";
  const preview = row.state === "running" && state.preview?.id === row.id ? state.preview.url : "";
  if (preview) {
    if (node.thumb.tagName !== "IMG") {
      const img = h("img", { className: "thumb", alt: "" });
      node.thumb.replaceWith(img);
      node.thumb = img;
    }
    node.thumb.src = preview;
  } else if (node.thumb.tagName !== "IMG") setText(node.thumb, row.state === "running" ? "▶" : row.waits_for ? "↓" : String(place));
}

function draw() {
  setText(title, titleWords());
  none.hidden = state.rows.length > 0;
  clearAll.hidden = state.waiting < 2;
  const there = new Set(state.rows.map((row) => row.id));
  for (const [id, node] of nodes) if (!there.has(id)) { node.item.remove(); nodes.delete(id); }
  let place = 0;
  let before = null;
  for (const row of state.rows) {
    if (row.state === "waiting" && !row.waits_for) place += 1;
    if (!nodes.has(row.id)) nodes.set(row.id, makeRow(row));
    const node = nodes.get(row.id);
    drawRow(node, row, state.places[row.id] || place);
    const wanted = before ? before.nextSibling : list.firstChild;
    if (node.item !== wanted) list.insertBefore(node.item, wanted);
    before = node.item;
  }
  const hidden = state.waiting - state.rows.filter((row) => row.state === "waiting").length;
  more.hidden = hidden <= 0;
  setText(more, hidden > 0 ? `and ${hidden} more` : "");
}

/** Fill the queue's place on the shelf and keep it true. */
export async function showQueue() {
  const shelf = await whenThere("fl-shelf");
  title = h("small");
  list = h("ol", { id: "fl-rows", "aria-label": "Queue" });
  none = h("p", { className: "fl-none", textContent: "Nothing is waiting. Press Generate as often as you like; pictures line up here." });
  more = h("p", { className: "fl-none", hidden: true });
  clearAll = button("Clear", { kind: "small bare", label: "Cancel everything that waits", hidden: true, onclick: () => {
    call("POST", "/v1/clear").catch((error) => showProblem(error));
  } });
  shelf.append(h("section", { id: "fl-queue", "aria-label": "Queue" },
    h("header", {}, h("h2", {}, "Queue", title), clearAll),
    h("div", { className: "fl-scroll" }, none, list, more)));
  onChange(draw);
}

export const queueLength = () => state.waiting + (running() ? 1 : 0);
