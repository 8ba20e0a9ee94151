// A contact sheet over the stage: the same prompt in many styles, samplers or modes, filling in as they are drawn.

import { call, thumbUrl } from "./api.js";
import { button, duration, h, icon, setText, whenThere } from "./dom.js";
import { expandStyle, fill, say } from "./form.js";
import { onEnd, onNewLine } from "./live.js";
import { keep, recall } from "./memory.js";
import { keptFields, refuseMode, takeMode } from "./modes.js";
import { showProblem } from "./notice.js";
import { setGallery } from "./pictures.js";
import { rove } from "./roving.js";
import { change, onChange, state } from "./store.js";
import { setQueueOpen, setSheet } from "./theme.js";
import { hueOf, makeLook } from "./tiles.js";

const OPEN = "fl.sheet"; // id of the sheet that is open: a reload and a second tab show it too
const GAP = 12; // pixels between cells, as in the style sheet
const NAME = 24; // pixels under a picture for its name
const LEAST = 104; // narrower cells scroll instead
const LARGEST = 288;
const ENDED = ["finished", "failed", "cancelled"];
let parts = null;
let cells = []; // {item, open, look, img, words, again, use, bar, key}
let drawnFor = null; // the sheet whose cells are built
let asking = 0;
let ended = 0; // how many pictures of the open sheet ended while it was open
let strangers = ""; // ids of the sheet's line that no cell has, as the program was last asked about them

/** Show a sheet, as the program gave it. */
export function openSheet(sheet) {
  keep(OPEN, sheet.id);
  setGallery(false);
  setQueueOpen(false);
  setSheet("");
  change({ sheet, selected: null });
  loadList();
}

async function openById(id) {
  const sheet = await call("GET", `/v1/sheets/${encodeURIComponent(id)}`).catch((error) => (error.code === "offline" ? undefined : null));
  if (sheet) openSheet(sheet);
  else if (sheet === null) keep(OPEN, "");
}

export function closeSheet() {
  keep(OPEN, "");
  change({ sheet: null });
}

export const isSheetShown = () => Boolean(state.sheet) && state.selected === null;

/** A picture is looked at, and the sheet lies behind it. */
export const isSheetBehind = () => Boolean(state.sheet) && state.selected !== null;

export const backToSheet = () => change({ selected: null });

/** Ask how it stands: things may have ended without a word, or been tried again. */
async function reload() {
  const id = state.sheet?.id;
  if (!id) return;
  const mine = ++asking, before = ended;
  const sheet = await call("GET", `/v1/sheets/${id}`).catch(() => null);
  if (!sheet || mine !== asking || state.sheet?.id !== id) return;
  change({ sheet });
  if (ended !== before) reload(); // what ended meanwhile may stand in the answer as running still
}

let listed = "";

async function loadList() {
  const answer = await call("GET", "/v1/sheets").catch(() => null);
  if (!answer || !parts) return;
  const { sheets } = answer;
  parts.entry.hidden = sheets.length === 0;
  parts.newest = sheets[0]?.id;
  const key = JSON.stringify([state.sheet?.id, sheets.map((one) => one.id)]);
  if (key === listed) return;
  listed = key;
  parts.choice.hidden = sheets.length < 2;
  parts.choice.replaceChildren(...sheets.map((one) => h("option", {
    value: one.id, selected: one.id === state.sheet?.id,
    textContent: `${one.words.slice(0, 40) || "(no words)"} · ${one.cells}`,
  })));
}

async function look(cell) {
  if (cell.state !== "finished") return;
  try {
    const visit = state.pictures.find((one) => one.id === cell.id) || (await call("GET", `/v1/pictures/${cell.id}`));
    change({ visit, selected: cell.id });
  } catch (error) {
    showProblem(error);
  }
}

/** The id by which the form knows what a sampler's or a mode's cell shows; none if that is gone. */
function idOf({ label, varies }) {
  const rows = varies === "sampler" ? state.menu?.samplers : state.menu?.modes;
  return rows?.find((row) => row.label === label)?.id;
}

/** Is it in the form already? */
function isChosen(cell) {
  if (cell.varies === "style") return (state.draft?.styles || []).includes(cell.label);
  return state.draft?.[cell.varies] !== undefined && state.draft[cell.varies] === idOf(cell);
}

function use(cell) {
  const { draft } = state;
  const id = cell.varies === "style" ? cell.label : idOf(cell);
  const next = { ...draft, mode: id };
  if (id === undefined) { say(`${cell.label} cannot be chosen any more`); return; }
  if (cell.varies === "sampler" && keptFields(draft).includes("sampler")) { say("The mode keeps its sampler; choose another mode first"); return; }
  if (cell.varies === "mode" && refuseMode(next)) return;
  if (cell.varies === "mode") fill(takeMode(next));
  else fill(cell.varies === "sampler" ? { sampler: id } : { styles: [id, ...expandStyle(draft)] });
  say(`In the form: ${cell.label}`);
}

function again(cell) {
  call("POST", `/v1/tasks/${cell.id}/retry`).then(reload, (error) => showProblem(error));
}

function makeCell(at) {
  const cell = () => state.sheet.cells[at];
  const { label, varies } = cell();
  const category = state.menu?.styles.find((style) => style.name === label)?.category;
  const node = {
    img: h("img", { alt: "", decoding: "async", loading: "lazy", hidden: true }),
    words: h("span", { className: "how" }),
    bar: h("i", { hidden: true }),
    again: button("Try again", { kind: "small again", hidden: true, tabIndex: -1, label: `Try again: ${label}`, onclick: () => again(cell()) }),
    use: button("", { icon: "reuse", kind: "use", tabIndex: -1, label: `Use this ${varies}: ${label}`, title: `Use this ${varies}`, onclick: () => use(cell()) }),
    key: "",
  };
  node.open = h("button", { type: "button", className: "open", tabIndex: -1, onclick: () => look(cell()) }, makeLook(label, hueOf(category)), node.img, node.words, node.bar);
  node.item = h("li", {}, node.open, node.use, node.again, h("span", { className: "name", textContent: label, title: label }));
  if (varies === "style" && /pixel/i.test(label)) node.img.dataset.grain = "pixel";
  return node;
}

const WORDS = { waiting: "", running: "", finished: "", cancelled: "cancelled" };

function drawCell(node, cell, row) {
  const now = ENDED.includes(cell.state) ? cell.state : row?.state || cell.state;
  const preview = now === "running" && state.preview?.id === cell.id ? state.preview.url : "";
  const at = now === "running" ? state.progress.get(cell.id) : null;
  node.bar.hidden = now !== "running";
  if (at?.steps) node.bar.style.transform = `scaleX(${at.step / at.steps})`;
  const chosen = String(isChosen(cell));
  if (node.item.dataset.chosen !== chosen) node.item.dataset.chosen = chosen;
  const key = `${cell.id} ${now} ${preview.length}`;
  if (key === node.key) return;
  node.key = key;
  node.item.dataset.state = now;
  const source = now === "finished" ? thumbUrl(cell.id) : preview;
  if (source && node.img.getAttribute("src") !== source) node.img.src = source;
  node.img.hidden = !source;
  node.again.hidden = !["failed", "cancelled"].includes(now);
  setText(node.words, now === "failed" ? cell.error?.problem || "failed" : WORDS[now]);
  const said = { running: "being drawn", waiting: "waiting", failed: cell.error?.problem }[now] || now;
  node.words.title = now === "failed" ? `${cell.error?.problem || ""} ${cell.error?.hint || ""}`.trim() : "";
  node.open.setAttribute("aria-label", now === "finished" ? `Show: ${cell.label}` : `${cell.label}: ${said}`);
  node.open.setAttribute("aria-disabled", String(now !== "finished"));
}

/** As large as fits without scrolling; where that would be too small, as many in a row as may be. */
function fit() {
  const { sheet } = state;
  if (!sheet || parts.place.hidden) return;
  const { clientWidth, clientHeight } = parts.scroll;
  const style = getComputedStyle(parts.scroll);
  const across = clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const down = clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const tall = sheet.height / sheet.width;
  const wide = (columns) => Math.min(LARGEST, (across - GAP * (columns - 1)) / columns);
  const most = Math.max(2, Math.floor((across + GAP) / (LEAST + GAP)));
  let columns = 1;
  while (columns < Math.min(most, sheet.cells.length)) {
    const rows = Math.ceil(sheet.cells.length / columns);
    if (rows * (wide(columns) * tall + NAME + GAP) - GAP <= down) break;
    columns += 1;
  }
  parts.grid.style.setProperty("--columns", columns);
  parts.grid.style.setProperty("--cell", `${Math.floor(wide(columns))}px`);
  parts.grid.style.setProperty("--tall", tall);
}

function drawHead(sheet) {
  const done = sheet.cells.filter((cell) => ENDED.includes(cell.state)).length;
  const left = sheet.cells.length - done;
  const drawn = sheet.cells.filter((cell) => cell.state === "finished").length;
  const isAlone = state.waiting > 0 && state.waiting <= left; // then the line's time is the sheet's
  const time = isAlone && state.secondsLeft ? ` · about ${duration(state.secondsLeft)} left` : "";
  setText(parts.title, sheet.prompt || "(no words)");
  parts.title.title = sheet.prompt;
  setText(parts.count, left ? `${drawn} of ${sheet.cells.length}${time}` : `${drawn} ${drawn === 1 ? "picture" : "pictures"} · seed ${sheet.seed}`);
  parts.bar.style.transform = `scaleX(${done / sheet.cells.length})`;
  parts.bar.parentNode.hidden = left === 0;
  parts.stop.hidden = left === 0;
  parts.save.hidden = drawn === 0;
  const href = `/v1/sheets/${sheet.id}/image?download=true`;
  if (parts.save.getAttribute("href") !== href) parts.save.href = href;
}

function draw() {
  const { sheet } = state;
  if (!sheet && parts.isOpen) keep(OPEN, ""); // Generate closed it: a reload must not lay it over the new picture
  parts.isOpen = Boolean(sheet);
  const isShown = isSheetShown();
  if (parts.place.hidden === isShown) parts.place.hidden = !isShown;
  parts.back.hidden = !isSheetBehind();
  document.documentElement.toggleAttribute("data-contact", isShown); // a phone gives it the whole window
  if (!isShown) return;
  const names = `${Boolean(state.menu)} ${sheet.id}\n${sheet.cells.map((cell) => cell.label).join("\n")}`;
  if (drawnFor !== names) {
    drawnFor = names;
    cells = sheet.cells.map((_, at) => makeCell(at));
    parts.grid.replaceChildren(...cells.map((node) => node.item));
    parts.scroll.scrollTop = 0;
    parts.settle();
    fit();
  }
  const rows = state.rows.filter((row) => row.batch_id === sheet.id);
  const by = new Map(rows.map((row) => [row.id, row]));
  sheet.cells.forEach((cell, at) => drawCell(cells[at], cell, by.get(cell.id)));
  drawHead(sheet);
  const known = new Set(sheet.cells.map((cell) => cell.id));
  const strange = rows.map((row) => row.id).filter((id) => !known.has(id)).join(" ");
  if (strange && strange !== strangers) reload(); // tried again in another tab; asked about once
  strangers = strange;
}

function build(stage) {
  parts = {
    place: h("section", { id: "fl-contact", hidden: true, "aria-label": "Contact sheet" }),
    title: h("h2"),
    count: h("span", { className: "count" }),
    choice: h("select", { "aria-label": "Which sheet", hidden: true, onchange: () => openById(parts.choice.value) }),
    bar: h("i"),
    save: h("a", { className: "fl-btn small", download: "" }, icon("save"), h("span", { textContent: "Save as one picture" })),
    stop: button("Cancel the rest", { kind: "small bare", onclick: () => call("DELETE", `/v1/sheets/${state.sheet.id}`).then(reload, (error) => showProblem(error)) }),
    grid: h("ul", { "aria-label": "Pictures on it" }),
    back: h("button", { id: "fl-tosheet", type: "button", className: "fl-btn small", hidden: true, onclick: backToSheet }, icon("grid"), h("span", { textContent: "Back to the contact sheet" })),
  };
  parts.scroll = h("div", { className: "fl-scroll" }, parts.grid);
  parts.place.append(
    h("header", {}, h("div", { className: "what" }, parts.title, parts.count), parts.choice, parts.stop, parts.save,
      button("", { icon: "close", kind: "icon small bare", label: "Close the contact sheet", title: "Close (Esc)", onclick: closeSheet })),
    h("div", { className: "bar" }, parts.bar), parts.scroll);
  parts.settle = rove(parts.grid, ".open", "li");
  stage.append(parts.place, parts.back);
  new ResizeObserver(fit).observe(parts.scroll);
}

async function addEntry() {
  const header = (await whenThere("fl-pictures")).querySelector("header");
  const open = () => { setGallery(false); setSheet(""); if (state.sheet) backToSheet(); else if (parts.newest) openById(parts.newest); };
  parts.entry = button("Contact sheets", { icon: "sheet", kind: "small bare", hidden: true, onclick: open });
  header.insertBefore(parts.entry, header.lastElementChild);
}

/** Listen; a sheet that was open is open again. */
export async function showContact() {
  build(await whenThere("fl-stage"));
  await addEntry();
  onEnd((task) => {
    const { sheet } = state;
    if (task.batch_id !== sheet?.id) return;
    ended += 1;
    const cells = sheet.cells.map((cell) => (cell.id === task.id ? { ...cell, state: task.state, error: task.error } : cell));
    change({ sheet: { ...sheet, cells } });
  });
  onNewLine(reload);
  window.addEventListener("storage", ({ key, newValue }) => { if (key === OPEN && newValue && newValue !== state.sheet?.id) openById(newValue); });
  onChange(draw);
  const id = recall(OPEN);
  if (id) await openById(id);
  loadList();
}
