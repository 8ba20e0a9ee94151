// Editing what waits: its settings in the form, a bar above that says so, and a way back to what stood there.

import { call } from "./api.js";
import { button, h, icon } from "./dom.js";
import { fill, refuse, say, toRecipe } from "./form.js";
import { look } from "./line.js";
import { keep, recall } from "./memory.js";
import { clear, pin, showNote, showProblem } from "./notice.js";
import { change, state } from "./store.js";
import { takeSettings } from "./taking.js";
import { setSheet } from "./theme.js";

const KEPT = "fl.editing";
const BAR = "editing";
const NEVER = ["count"]; // how many there are is settled once they wait
const PAGE = 50;
let saving = null; // a save on its way, which gives what it puts back into the form, or null; until then nobody else changes `now`
let now = null; // {ids, revisions, words, base, before}: what is edited, its recipe as the form had it, the form before

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other) || String(one) === String(other);

/** What a person changed since the settings came into the form; null is a field that was emptied. */
function changedFields() {
  const recipe = toRecipe(state.draft);
  const names = new Set([...Object.keys(recipe), ...Object.keys(now.base)]);
  const fields = [...names].filter((name) => !NEVER.includes(name) && !isSame(recipe[name], now.base[name]));
  return Object.fromEntries(fields.map((name) => [name, recipe[name] ?? null]));
}

function showBar() {
  const many = now.ids.length > 1;
  document.documentElement.toggleAttribute("data-editing", true);
  const node = h("div", { className: "fl-notice fl-editing", role: "region", "aria-label": "Editing" },
    icon("pencil"),
    h("div", {},
      h("strong", { textContent: many ? `Editing ${now.ids.length} waiting pictures` : "Editing a waiting picture" }),
      h("p", { className: "words", textContent: many ? `Each keeps its seed · ${now.words}` : now.words })),
    h("div", { className: "actions" },
      button("Save changes", { kind: "small main", title: "Save changes (Ctrl+Enter)", onclick: save }),
      button("Cancel", { kind: "small", label: "Cancel editing", title: "Leave it as it was (Esc)", onclick: cancelEditing })));
  pin(BAR, node);
}

function end() {
  now = null;
  keep(KEPT, "");
  clear(BAR);
  document.documentElement.toggleAttribute("data-editing", false);
}

/** Rows of the pictures that an entry stands for and that wait. */
async function rowsOf({ level, row, group }) {
  if (level === 2 || group.waiting === 1) return [row.state === "running" ? await firstOf(group) : row].filter(Boolean);
  const rows = [];
  let after = "";
  while (after !== null) {
    const answer = await call("GET", `/v1/queue/batches/${encodeURIComponent(group.batch_id)}?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
    rows.push(...answer.tasks);
    after = answer.next;
  }
  return rows;
}

async function firstOf({ batch_id: batch }) {
  const { tasks: [first] } = await call("GET", `/v1/queue/batches/${encodeURIComponent(batch)}?limit=1`);
  return first;
}

/** What still waits of these rows, and the whole task of the first; else the task that was asked about last, as it is now. */
async function stillWaiting(rows) {
  let task = null;
  for (const [at, { id }] of rows.entries()) {
    task = await call("GET", `/v1/tasks/${id}`);
    if (task.state === "waiting") return { task, rows: rows.slice(at) };
  }
  return { task, rows: [] };
}

function tellTooLate(task) {
  const isCancelled = !task || task.state === "cancelled";
  showProblem({
    problem: isCancelled ? "It waits no more." : "It has begun already and is drawn as it was asked for.",
    hint: "When it has ended, “Use settings” in History brings its settings into the form for another picture.",
  }, { key: "queue" });
  look();
}

/** Bring an entry's settings into the form; of a batch, what is changed is changed in all its pictures that wait. */
export async function edit(entry) {
  if (!entry.group) return; // what is being drawn is as it is
  try {
    const { task, rows } = await stillWaiting(await rowsOf(entry));
    if (!rows.length) { tellTooLate(task); return; }
    const form = saving ? await saving : { ...state.draft };
    if (!form) return; // what was to be saved was refused, and is still in the form
    const before = now?.before ?? form;
    const { recipe } = task;
    const revisions = [task.revision, ...rows.slice(1).map((row) => row.revision)];
    clear("taken");
    setSheet("");
    const { fields, notes } = takeSettings(recipe, before);
    const base = toRecipe({ ...form, ...fields });
    now = { ids: rows.map((row) => row.id), revisions, words: recipe.prompt || "(no words)", base, before };
    keep(KEPT, JSON.stringify(now));
    showBar();
    if (notes.length) showNote("Not all of it can be shown here.", { key: "taken", shape: "warn", lines: notes });
    document.querySelector("#fl-prompt textarea")?.focus();
  } catch (error) {
    showProblem(error, { key: "queue" });
  }
}

/** Put back what stood in the form before. What is being saved can no longer be left. */
export function cancelEditing() {
  if (saving) return;
  const { before } = now;
  end();
  clear("form");
  clear("queue");
  fill(before);
}

export const isEditing = () => Boolean(now);

/** Save what was changed, once however often it is asked for. */
export async function save() {
  if (saving) return;
  const buttons = document.querySelectorAll(".fl-editing .actions button");
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  saving = trySave();
  try {
    await saving;
  } finally {
    for (const one of buttons) one.removeAttribute("aria-disabled");
    saving = null;
  }
}

/** Gives what it put back into the form; whatever is refused, what was typed stays there, and it gives null. */
async function trySave() {
  const fields = changedFields();
  const { ids, before } = now;
  if (ids.length > 1 && fields.seed !== null) delete fields.seed; // each keeps its own: else all would be the same picture
  clear("form");
  clear("queue");
  let stayed = [];
  try {
    if (Object.keys(fields).length) stayed = await send(fields);
  } catch (error) {
    if (error.code === "conflict" || error.code === "not_found") await tellConflict(error);
    else refuse(error, state.draft);
    return null;
  } finally {
    look();
  }
  end();
  fill(before);
  if (stayed.length) tellStayed(stayed, ids.length);
  else say(Object.keys(fields).length ? "Saved" : "Nothing was changed");
  return before;
}

function tellStayed(stayed, count) {
  const saved = count - stayed.length;
  showProblem({
    problem: `${stayed.length} of ${count} stayed as they were: they had begun, or somebody else changed them.`,
    hint: saved === 1 ? "The other one has the new settings." : `The other ${saved} have the new settings.`,
  }, { key: "queue" });
}

/** Change these fields of all that is edited; those that stayed as they were. */
async function send(fields) {
  const { ids, revisions } = now;
  if (ids.length > 1) return (await call("POST", "/v1/queue/edit", { ids, revisions, recipe: fields })).stayed;
  await call("PATCH", `/v1/tasks/${ids[0]}`, { recipe: fields, revision: revisions[0] });
  return [];
}

/** Somebody changed it meanwhile, or it is being drawn: one sentence, and the form stays as it is. */
async function tellConflict(error) {
  const task = now.ids.length === 1 ? await call("GET", `/v1/tasks/${now.ids[0]}`).catch(() => null) : null;
  if (task?.state === "waiting") {
    now.revisions = [task.revision];
    keep(KEPT, JSON.stringify(now));
    showProblem({ problem: error.problem, hint: "What you typed is still here: press Save changes again to put it over that." }, { key: "queue" });
    return;
  }
  end();
  showProblem({ problem: error.problem, hint: "What you typed is still in the form: press Generate to draw it as a new picture." }, { key: "queue" });
}

/** Somebody who reloads in the middle of it goes on where they were. */
export function resumeEditing() {
  try { now = JSON.parse(recall(KEPT) || "null"); } catch { now = null; }
  if (now) showBar();
  change({});
}
