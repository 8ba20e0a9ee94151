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
let now = null; // {ids, revisions, isMany, words, base, before}: what is edited, its recipe as the form had it, the form before

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other) || String(one) === String(other);

/** What a person changed in the form since it said `base`; null is a field that was emptied. */
function changedFields(base) {
  const recipe = toRecipe(state.draft);
  const names = new Set([...Object.keys(recipe), ...Object.keys(base)]);
  const fields = [...names].filter((name) => !NEVER.includes(name) && !isSame(recipe[name], base[name]));
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

/** Remember what is edited, also over a reload, and say so. */
function edits(what) {
  now = what;
  keep(KEPT, JSON.stringify(now));
  showBar();
}

function end() {
  now = null;
  keep(KEPT, "");
  clear(BAR);
  document.documentElement.toggleAttribute("data-editing", false);
}

/** Whether it waits and can be changed: on a contact sheet only what it shows may differ. */
export const canEdit = ({ group }) => Boolean(group && !group.first.label);

/** Rows of the pictures that an entry stands for and that wait. */
async function rowsOf({ level, row, group }) {
  if (level === 2 || group.waiting === 1) return [row.state === "running" ? await firstOf(group) : row].filter(Boolean);
  return rowsIn(group.batch_id);
}

/** Rows of what waits of a batch. */
async function rowsIn(batch) {
  const rows = [];
  let after = "";
  while (after !== null) {
    const answer = await call("GET", `/v1/queue/batches/${encodeURIComponent(batch)}?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
    rows.push(...answer.tasks);
    after = answer.next;
  }
  return rows;
}

/** Those of some pictures of one batch that wait, as they are now; none if that cannot be known. */
async function waitingNow(ids) {
  try {
    const task = await call("GET", `/v1/tasks/${ids[0]}`);
    if (ids.length === 1) return task.state === "waiting" ? [task] : [];
    const asked = new Set(ids);
    return (await rowsIn(task.batch_id)).filter((row) => asked.has(row.id));
  } catch {
    return [];
  }
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
    if (!form) return; // what was to be saved was refused, or more was typed since: it is still in the form
    const revisions = [task.revision, ...rows.slice(1).map((row) => row.revision)];
    setSheet("");
    begin({ ids: rows.map((row) => row.id), revisions, isMany: rows.length > 1, before: now?.before ?? form }, task.recipe, form);
    document.querySelector("#fl-prompt textarea")?.focus();
  } catch (error) {
    showProblem(error, { key: "queue" });
  }
}

/** Put a recipe into a form, to be changed there; what was typed `since` that form stays. */
function begin(what, recipe, form, since = null) {
  clear("taken");
  const { fields, notes } = takeSettings(recipe, what.before, since);
  edits({ ...what, words: recipe.prompt || "(no words)", base: toRecipe({ ...form, ...fields }) });
  if (notes.length) showNote("Not all of it can be shown here.", { key: "taken", shape: "warn", lines: notes });
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

/** Gives what it put back into the form; null if there is more to save, and what was typed stays there. */
async function trySave() {
  const sent = state.draft;
  const fields = changedFields(now.base);
  const { ids, before } = now;
  if ((now.isMany || ids.length > 1) && fields.seed !== null) delete fields.seed; // each keeps its own: else all would be the same picture
  clear("form");
  clear("queue");
  let stayed = [];
  try {
    if (Object.keys(fields).length) stayed = await send(fields);
    if (stayed.length && await tellChanged(stayed.map(({ id }) => id), sent)) return null;
  } catch (error) {
    if (error.code === "conflict" || error.code === "not_found") await tellConflict(error);
    else refuse(error, state.draft);
    return null;
  } finally {
    look();
  }
  if (stayed.length) tellStayed(stayed, ids.length);
  if (Object.keys(changedFields(toRecipe(sent))).length) {
    await goOn(sent, new Set(stayed.map(({ id }) => id)), Object.keys(fields).length > 0);
    return null;
  }
  end();
  fill(before, sent);
  if (!stayed.length) say(Object.keys(fields).length ? "Saved" : "Nothing was changed");
  return before;
}

/** What was `sent` is saved; what was typed meanwhile stays in the form, to be saved as well. */
async function goOn(sent, stayed, isChanged) {
  const saved = now.ids.map((id, at) => ({ id, revision: now.revisions[at] + (isChanged ? 1 : 0) })).filter(({ id }) => !stayed.has(id));
  const what = { ...now, ids: saved.map(({ id }) => id), revisions: saved.map(({ revision }) => revision) };
  const task = await call("GET", `/v1/tasks/${what.ids[0]}`).catch(() => null);
  if (task) begin(what, task.recipe, sent, sent);
  else edits({ ...what, base: toRecipe(sent) });
  say("Saved, but not what you typed since: press Save changes again");
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

/** Somebody changed it meanwhile, it cannot be changed, or it is being drawn: one sentence, and the form stays as it is. */
async function tellConflict(error) {
  if (await tellChanged(now.ids)) return;
  if ((await waitingNow(now.ids)).length) { showProblem(error, { key: "queue" }); return; }
  end();
  showProblem({ problem: error.problem, hint: "What you typed is still in the form: press Generate to draw it as a new picture." }, { key: "queue" });
}

/**
 * Of what is edited, some stayed as it was: whether somebody has changed any of that, and it waits. Then that is edited
 * on, and what was saved as well if more was typed since it was `sent`.
 */
async function tellChanged(stayed, sent = state.draft) {
  const known = new Map(now.ids.map((id, at) => [id, now.revisions[at]]));
  const rows = (await waitingNow(stayed)).filter((row) => row.revision !== known.get(row.id));
  if (!rows.length) return false;
  const count = now.ids.length;
  const [saved, gone] = [count - stayed.length, stayed.length - rows.length];
  const left = new Map(rows.map((row) => [row.id, row.revision]));
  if (Object.keys(changedFields(toRecipe(sent))).length) {
    for (const [id, revision] of known) if (!stayed.includes(id)) left.set(id, revision + 1);
  }
  edits({ ...now, ids: [...left.keys()], revisions: [...left.values()] });
  const which = count === 1 ? "This picture was" : rows.length === count ? "These pictures were" : `${rows.length} of ${count} ${rows.length === 1 ? "was" : "were"}`;
  const others = [saved ? `${saved} ${saved === 1 ? "has" : "have"} the new settings.` : "", gone ? `${gone} had begun or ended.` : ""];
  showProblem({
    problem: `${which} changed by somebody else meanwhile.`,
    hint: [...others, "What you typed is still here: press Save changes again to put it over that."].filter(Boolean).join(" "),
  }, { key: "queue" });
  return true;
}

/** Somebody who reloads in the middle of it goes on where they were. */
export function resumeEditing() {
  try { now = JSON.parse(recall(KEPT) || "null"); } catch { now = null; }
  if (now) showBar();
  change({});
}
