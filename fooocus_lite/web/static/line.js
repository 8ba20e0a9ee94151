// The line as the program has it: one entry for each batch, page by page, as far as a person looks.

import { call } from "./api.js";
import { onNewLine } from "./live.js";
import { onChange, state } from "./store.js";

const PAGE = 50; // batches, or pictures of one, that are asked for at once
const CALM_MS = 100; // between two looks at the program, however much happens
let pages = []; // [{after, groups, isStale}]: `after` is where a page begins, as the program named it
let next = null; // where the page after the last one begins; null = there is none
let total = 0; // batches that wait
let length = 0; // how many entries there are, also those that are not here yet
let entries = []; // what the list shows from its top on, as far as it is here
let sight = [0, 1]; // the first entry in sight, and the one after the last
let isSeen = () => false; // whether anybody looks at the list
let redraw = () => {};
let isWanted = true;
let isAsking = false;
let isKnown = false;
let moving = 0; // moves that are shown here and that the program has not answered
let moves = 0; // those that it has answered
const opened = new Map(); // batch_id -> {tasks, next, isStale}: the batches that are unfolded
const cancelled = new Set(); // keys of what was asked to end and is not told to have ended yet
const keyOf = (batch) => `batch ${batch}`; // a batch may have the id of its first picture

/** What is unfolded below a batch, then its gap: pictures that are not here yet. */
function putTasks(group) {
  const fold = opened.get(group.batch_id);
  fold.tasks.forEach((row, at) => entries.push({ key: row.id, row, group, level: 2, pos: at + 1, size: group.waiting }));
  const missing = fold.next === null ? 0 : Math.max(0, group.waiting - fold.tasks.length);
  for (let at = 0; at < missing; at += 1) {
    const pos = fold.tasks.length + at + 1;
    entries.push({ key: `${group.batch_id} ${pos}`, row: null, group, level: 2, pos, size: group.waiting });
  }
}

/** Batches with the picture that stands for each: those being drawn, with what of them is next, then the line. */
function build() {
  const drawing = state.rows.filter((row) => row.state === "running");
  const batches = new Set(drawing.map((row) => row.batch_id));
  const groups = pages.flatMap((page) => page.groups);
  const joined = new Map(groups.slice(0, batches.size).filter((one) => batches.has(one.batch_id)).map((one) => [one.batch_id, one]));
  const apart = new Set(groups.slice(batches.size).map((one) => one.batch_id).filter((id) => batches.has(id)));
  const size = drawing.length + total - joined.size;
  const named = new Set();
  let pos = 0;
  let place = 0;
  entries = [];
  const put = (key, row, group) => {
    pos += 1;
    entries.push({ key, row, group, level: 1, pos, size, place });
    if (group && opened.has(group.batch_id)) putTasks(group);
  };
  for (const row of drawing) {
    const id = row.batch_id;
    const isFirst = !named.has(id) && !apart.has(id); // the others of it are drawn elsewhere at the same time
    named.add(id);
    put(isFirst ? keyOf(id) : row.id, row, (isFirst && joined.get(id)) || null);
  }
  for (const group of groups) {
    if (!group.first.waits_for) place += 1;
    if (!joined.has(group.batch_id)) put(keyOf(group.batch_id), group.first, group);
  }
  length = next === null ? entries.length : Math.max(size, pos + 1) + entries.length - pos;
}

/** How many entries there are, also those that are not here yet. */
export const lineLength = () => length;

/** The entry at a place; null if it is not here yet. */
export const entryAt = (at) => entries[at] ?? null;

/** The entry above one that is unfolded. */
export const parentOf = ({ group }) => entryOf(keyOf(group.batch_id));

/** The entry that has this key; null if none has it now. */
export const entryOf = (key) => entries.find((one) => one.key === key) ?? null;

/** Its neighbour of the same level that waits, one up (-1) or down (1); null where there is none. */
export function besideOf(entry, by) {
  const from = entries.findIndex((one) => one.key === entry.key); // entries are made anew while a menu is open
  if (from < 0) return null;
  let at = from + by;
  while (entries[at]?.level > entry.level) at += by;
  const found = entries[at];
  return found?.group && found.row && found.level === entry.level ? found : null;
}

/** How many pictures of a batch stand where its next one does; the others were moved apart, as far as is told here. */
export function together({ batch_id: batch, first, waiting }) {
  const from = state.rows.findIndex((row) => row.id === first.id);
  let to = from;
  while (state.rows[to]?.batch_id === batch) to += 1;
  const isTold = from >= 0 && to < state.rows.length && !Object.keys(state.places).length; // of several users each has a turn
  return isTold ? Math.min(waiting, to - from) : waiting;
}

/** Whether a picture that waits is the one that is begun next. */
export const isNext = ({ row }) => entries.find((one) => one.group)?.group.first.id === row.id;

export const isOpened = (batch) => opened.has(batch);

/** Whether its end was asked for. */
export const isGoing = ({ key, group, row }) => cancelled.has(key) || Boolean(group && cancelled.has(keyOf(group.batch_id))) || row.cancelling;

/** Unfold a batch, or fold it. */
export function setOpened(batch, isOpen) {
  if (isOpen) opened.set(batch, { tasks: [], next: "", isStale: true });
  else opened.delete(batch);
  show();
  if (isOpen) look();
}

/** The list tells which entries it shows. */
export function nowInSight(first, last) {
  sight = [first, last];
  if (lacking()) look();
}

/** Whether something in sight is not here, or no longer sure. */
function lacking() {
  if (isWanted || (sight[1] > entries.length && next !== null)) return true;
  const shown = entries.slice(...sight);
  const stale = new Set(pages.filter((page) => page.isStale).flatMap((page) => page.groups));
  return shown.some(({ row, group, level }) => (level === 2 && (!row || opened.get(group.batch_id)?.isStale)) || stale.has(group));
}

/** The page of batches that the first entry in sight is on. */
function pageInSight() {
  const { group } = entries.slice(...sight).find((one) => one.group) ?? {};
  if (!group) return sight[0] < entries.length || next === null ? 0 : pages.length;
  return Math.max(0, pages.findIndex((page) => page.groups.includes(group)));
}

/** Ask for the batches in sight, as many pages as they are on. What is there stays until all of them have come. */
async function askForGroups() {
  const at = pageInSight();
  const asked = moves;
  const countOf = (some) => some.reduce((sum, page) => sum + page.groups.length, 0);
  let after = at < pages.length ? pages[at].after : pages.length ? next : null;
  const fresh = [];
  let answer;
  do {
    answer = await call("GET", `/v1/queue?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
    if (moving || asked !== moves) { isWanted = true; return; } // it may show the line as it was before
    fresh.push({ after, groups: answer.groups, isStale: false });
    after = answer.next;
  } while (after !== null && sight[1] > entries.length - countOf(pages.slice(at)) + countOf(fresh));
  for (const page of fresh) page.isStale = isWanted; // something changed while they came
  take(at, fresh, answer);
}

/** Put pages in from the page `at` on. What came after them began elsewhere, and is asked for again. */
function take(at, fresh, answer) {
  const ids = new Set(fresh.flatMap((page) => page.groups.map((one) => one.batch_id)));
  const before = pages.slice(0, at).map((page) => ({ ...page, groups: page.groups.filter((one) => !ids.has(one.batch_id)) }));
  pages = [...before, ...fresh];
  ({ next } = answer);
  total = answer.batches;
  show();
  const lives = new Set(entries.map((one) => one.key));
  for (const key of cancelled) if (!lives.has(key)) cancelled.delete(key);
  if (next === null) for (const batch of opened.keys()) if (!lives.has(keyOf(batch))) opened.delete(batch);
}

function show() {
  build();
  redraw();
}

async function askForTasks() {
  const shown = entries.slice(...sight).filter((one) => one.level === 2 || opened.get(one.group?.batch_id)?.isStale);
  for (const batch of new Set(shown.map((one) => one.group.batch_id))) {
    const fold = opened.get(batch);
    const last = shown.filter((one) => one.group.batch_id === batch).at(-1).pos;
    let { tasks, next: after } = fold.isStale ? { tasks: [], next: "" } : fold;
    while (after !== null && (tasks.length < last || !tasks.length)) {
      const path = `/v1/queue/batches/${encodeURIComponent(batch)}?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`;
      const answer = await call("GET", path);
      tasks = [...tasks, ...answer.tasks];
      after = answer.next;
    }
    if (opened.has(batch)) opened.set(batch, { tasks, next: after, isStale: false });
  }
}

/** Look at the program: once for all that happened meanwhile, and only while somebody looks here. */
export async function look() {
  isWanted = true;
  if (isAsking) return;
  isAsking = true;
  while (isWanted && isSeen()) {
    isWanted = false;
    try {
      await askForGroups();
      await askForTasks();
      show();
      isKnown = true;
    } catch { /* the stream tells whether the program is away; then the line comes anew */ }
    await new Promise((resolve) => { setTimeout(resolve, CALM_MS); });
  }
  isAsking = false;
}

/** Nothing that is here is sure any more. */
function doubt() {
  for (const page of pages) page.isStale = true;
  for (const fold of opened.values()) fold.isStale = true;
  look();
}

/** Say at once that it ends; take it back if the program refuses. */
export function markGoing({ key }, isGone) {
  if (isGone) cancelled.add(key);
  else cancelled.delete(key);
  redraw();
}

/**
 * Show a batch at another place among those that are here, until the program says how it is; gives what to call with
 * whether it was done.
 */
export function showMoved(batch, before, by) {
  const former = pages;
  const groups = pages.flatMap((page) => page.groups);
  const [moved] = groups.splice(groups.findIndex((one) => one.batch_id === batch), 1);
  groups.splice(groups.findIndex((one) => one.batch_id === before) + by, 0, moved);
  let at = 0;
  const shown = pages.map((page) => ({ ...page, groups: groups.slice(at, at += page.groups.length) }));
  pages = shown;
  moving += 1;
  show();
  return (isDone) => {
    moving -= 1;
    moves += 1;
    if (!isDone && pages === shown) { pages = former; show(); }
    look();
  };
}

/** What has to be true again once anything in it changes. */
const signOf = () => [state.version, state.waiting, state.held, ...state.rows.filter((row) => row.state === "running").map((row) => row.id)].join(" ");

/** Follow: `draw` is called when entries changed, `seen` says whether anybody would notice. */
export function followLine({ draw, seen }) {
  redraw = draw;
  isSeen = seen;
  let rows = null;
  let sign = "";
  onNewLine(doubt);
  onChange(() => {
    if (rows !== state.rows) {
      rows = state.rows;
      build();
    }
    draw();
    if (!state.connected || sign === signOf()) return;
    sign = signOf();
    doubt();
  });
}

/** Whether the program has told of its line at all. */
export const isLineKnown = () => isKnown;
