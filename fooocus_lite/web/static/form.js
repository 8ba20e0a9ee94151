// The form: what Gradio's widgets hold, as a Recipe. Gradio calls the exported functions with all values.

import { call } from "./api.js";
import { duration, memory, ordinal, size } from "./dom.js";
import { hideChanged } from "./changes.js";
import { onEnd } from "./live.js";
import { lorasOf } from "./loralist.js";
import { keep, recall } from "./memory.js";
import { keptIn, keptWidget, modeFor, modelOf, refuseMode, takeMode, takenFields } from "./modes.js";
import { clear, markBad, showProblem } from "./notice.js";
import { paired, scheduleFor, stepsFor } from "./samplers.js";
import { change, running, state } from "./store.js";
import { openTab, setAdvanced, setSheet } from "./theme.js";

const DRAFT = "fl.draft";
const PROMPTS = "fl.prompts";
const RECIPE_FIELDS = [
  "prompt", "negative_prompt", "styles", "preset", "model", "width", "height", "count",
  "seed", "steps", "sampler", "scheduler", "guidance_scale", "sag_scale", "clip_skip", "image_format",
  "wildcard_order", "index", "expansion", "mode", "refiner", "refiner_switch",
  "guidance_rescale", "guidance_start", "guidance_end", "adaptive_cfg", "perp_neg", "apg_eta", "apg_threshold",
  "apg_momentum", "pag_scale", "sharpness", "freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2", "adm_positive",
  "adm_negative", "adm_end",
];
let names = [];
let infos = {}; // what stands under the fields' names, by field
const pending = new Map(); // values on their way into the widgets, by field: {value, since}
let filling = 0; // the timer that puts them there
let isOffered = false; // whether the widgets offer what the menu has now
let saving = 0;
let refused = null; // what the last refusal was about: {field, value as text, asked: estimates before it}

/** The values that Gradio hands over, by field name. */
export const draftOf = (values) => Object.fromEntries(names.map((name, at) => [name, values[at]]));
const asValues = (draft) => names.map((name) => draft[name]);
const read = (key, fallback) => {
  try { return JSON.parse(recall(key)) ?? fallback; } catch { return fallback; }
};

/** Once, when Gradio has drawn everything: the draft of last time comes back. */
export async function start(fieldNames, values, fieldInfos) {
  names = fieldNames;
  infos = fieldInfos;
  const menu = await call("GET", "/v1/menu").catch(() => null);
  const draft = paired({ ...draftOf(values), ...known(read(DRAFT, menu ? defaultsOf(menu) : {})) }, menu);
  if (menu) forget(draft, menu);
  change({ menu, draft, chosenPreset: draft.preset });
  estimate(draft);
  setTimeout(() => { document.documentElement.dataset.form = "ready"; });
  if (menu?.problems.length) showBrokenFiles(menu.problems);
  return widgets(draft);
}

/** For somebody's first visit: the page may have been built before another preset was made the default. */
function defaultsOf({ defaults, default_preset: preset }) {
  const { prompt, ...rest } = defaults;
  return { ...rest, ...(prompt ? { prompt } : {}), preset };
}

/** Styles and presets may have come since the page was built: Gradio takes a field's new choices with its value. */
function withChoices(name, value, menu) {
  const refiners = menu?.models.filter((row) => row.as_refiner).map((row) => [row.as_refiner, row.name]);
  const rows = {
    styles: menu?.styles.map((row) => [row.name, row.name]),
    preset: menu?.presets.map((row) => [row.label, row.name]),
    refiner: refiners && [["None", "none"], ...refiners],
  }[name];
  if (!rows) return value;
  return value?.__type__ ? { ...value, choices: rows } : { __type__: "update", choices: rows, value };
}

/** What Gradio puts into the widgets for a draft: values, choices, the fewest steps, the usual schedule. */
export function widgets(draft) {
  change({ chosenPreset: draft.preset, chosenMode: draft.mode });
  const whole = withShape({ ...paired(draft), ...keptIn(draft) });
  const updates = { steps: stepsFor, scheduler: scheduleFor, mode: modeFor, aspect: shapesFor };
  const values = names.map((name) => keptWidget(name, updates[name]?.(whole) ?? whole[name], whole, infos[name]));
  if (isOffered) return values;
  isOffered = true;
  return values.map((value, at) => withChoices(names[at], value, state.menu));
}

/** Another mode brings its values along; one that cannot be had says what is missing. */
export function modeChosen(values) {
  const draft = draftOf(values);
  return widgets(refuseMode(draft) ? { ...draft, mode: state.chosenMode } : takeMode(draft));
}

/** Another sampler may need more steps, and "auto" is another schedule. */
export function samplerChosen(values) {
  const draft = draftOf(values);
  return [stepsFor(draft), scheduleFor(draft)];
}

function showBrokenFiles(problems) {
  const hint = "Everything else was loaded. Mend the file and reload the page.";
  showProblem({ problem: problems[0], hint, details: problems.slice(1).join("\n") }, { key: "files" });
}

/** Only what there is a widget for. */
export const known = (draft) => Object.fromEntries(
  Object.entries(draft).filter(([name]) => names.includes(name)).map(([name, value]) => [name, name === "loras" ? JSON.stringify(lorasOf(value)) : value]),
);

/** Names that are gone since the draft was kept would only make errors. */
function forget(draft, menu) {
  const styles = new Set(menu.styles.map((row) => row.name));
  draft.styles = (draft.styles || []).filter((name) => styles.has(name));
  if (!menu.presets.some((row) => row.name === draft.preset)) draft.preset = menu.default_preset;
  if (draft.model && !menu.models.some((row) => row.name === draft.model)) draft.model = menu.defaults.model;
  if (!menu.modes.some((row) => row.id === draft.mode)) draft.mode = menu.defaults.mode;
}

/** After every change of any widget: keep the draft, say what it will cost. */
export function changed(values) {
  const draft = draftOf(values);
  change({ draft });
  if (refused && JSON.stringify(draft[refused.field]) !== refused.value) forgive();
  clearTimeout(saving);
  saving = setTimeout(() => {
    keep(DRAFT, JSON.stringify(draft));
    estimate(draft);
  }, 250);
}

/** Put values into the widgets: a draft's fields, by name. What is put in at the same moment is put in at once: a second click would bring the values of before the first. What a person changed `since` a draft stays. */
export function fill(fields, since = null) {
  for (const [name, value] of Object.entries(known(paired(fields)))) pending.set(name, { value, since });
  clearTimeout(filling);
  filling = setTimeout(() => document.getElementById("fl-fill")?.click());
}

/** Gradio asks for what `fill` left. */
export function filled(values) {
  const draft = draftOf(values);
  const isUntouched = (name, since) => !since || JSON.stringify(draft[name]) === JSON.stringify(since[name]);
  for (const [name, { value, since }] of pending) if (isUntouched(name, since)) draft[name] = value;
  pending.clear();
  return widgets(draft);
}

/** What the menu says of a preset. */
export const presetRow = (name) => state.menu?.presets.find((row) => row.name === name);

/** What can be chosen is another: ask for it, offer it in the widgets, and put in what `fieldsFor` says of it. */
export async function refreshMenu(fieldsFor = () => ({})) {
  const menu = await call("GET", "/v1/menu");
  const draft = { ...state.draft, ...fieldsFor(menu) };
  forget(draft, menu);
  isOffered = false;
  change({ menu });
  fill({ ...fieldsFor(menu), styles: draft.styles, preset: draft.preset });
}

/** A shape is a width and a height. */
export function shapeChosen(values) {
  const draft = draftOf(values);
  const [width, height] = String(draft.aspect).split("x").map(Number);
  return asValues(width && height ? { ...draft, width, height } : draft);
}

/** …and the other way round. One output: Gradio wants a list all the same. */
export function sizeTyped(values) {
  return [withShape(draftOf(values)).aspect];
}

const shapesOf = (draft) => modelOf(draft)?.sizes.map((row) => [row.label.split(" · ").reverse().join(" · "), `${row.width}x${row.height}`]) ?? [];

function withShape(draft) {
  const name = `${draft.width}x${draft.height}`;
  return { ...draft, aspect: shapesOf(draft).some(([, value]) => value === name) ? name : "custom" };
}

/** The shapes that the draft's model draws, as an update of that field. */
function shapesFor(draft) {
  return { __type__: "update", value: draft.aspect, ...(state.menu ? { choices: [...shapesOf(draft), ["Custom", "custom"]] } : {}) };
}

/** Whoever types a seed wants that one; whoever empties the field wants any. */
export function followSeed() {
  document.addEventListener("input", ({ target }) => {
    const random = target.closest("#fl-seed") && document.querySelector('#fl-random input[type="checkbox"]');
    if (random && random.checked === (target.value.trim() !== "")) random.click();
  });
}

/** A Recipe from the widgets; what is empty is left to the program. */
export function toRecipe(draft) {
  const recipe = {};
  for (const name of RECIPE_FIELDS) {
    const value = draft[name];
    if (value !== undefined && value !== null && value !== "") recipe[name] = value;
  }
  for (const name of takenFields(draft)) delete recipe[name]; // the mode's own affair, or nobody's
  const { without = {}, values = {} } = modelOf(draft) ?? {};
  for (const name of ["sampler", "scheduler"]) if (name in without) recipe[name] = values[name]; // else the preset's, made for another kind, would be refused
  recipe.negative_prompt = draft.negative_prompt || "";
  recipe.styles = draft.styles || [];
  recipe.loras = lorasOf(draft.loras);
  if (!expands(draft)) delete recipe.expansion;
  if (draft.random_seed) delete recipe.seed;
  else if (recipe.seed !== undefined) recipe.seed = String(recipe.seed).trim(); // text: longer than a JS number may be
  return recipe;
}

/** Of the chosen styles, the one that lets a language model add words: it goes with any other. */
export function expandStyle(draft) {
  const names = new Set((state.menu?.styles || []).filter((row) => row.kind === "expand").map((row) => row.name));
  return (draft?.styles || []).filter((name) => names.has(name));
}

/** Is that one chosen? */
export const expands = (draft) => expandStyle(draft).length > 0;

/** The click: settings are frozen here, the queue takes them from here on. */
export async function generate(values) {
  const draft = draftOf(values);
  forgive();
  for (const key of ["offer", "taken", "preset", "mode"]) clear(key);
  hideChanged();
  setSheet("");
  const line = state.waiting - state.held;
  const place = running() || line ? line + 1 : 0;
  const lacks = state.estimate?.fetches[0];
  try {
    const { ids } = await call("POST", "/v1/tasks", toRecipe(draft));
    remember(draft.prompt);
    change({ selected: null, sheet: null });
    if (lacks) say(`Queued for ${lacks.label}`);
    else if (place) say(queuedWords(ids.length, place));
  } catch (error) {
    refuse(error, draft);
  }
}

/** "Queued, 3rd · about 40 s" */
function queuedWords(count, place) {
  const rank = place === 1 ? "next" : ordinal(place);
  const what = count > 1 ? `${count} queued from ${rank}` : `Queued, ${rank}`;
  return state.secondsLeft ? `${what} · about ${duration(state.secondsLeft)}` : what;
}

/** What was said of a field is over. */
function forgive() {
  refused = null;
  clear("form");
}

/** Say why not, where the field is that it is about, until that is another; of a `draft` to be drawn, until one would be taken. */
export function refuse(error, draft = null) {
  const value = JSON.stringify((draft || state.draft)?.[error.field]);
  refused = error.field ? { field: error.field, value, asked: draft ? asked : Infinity } : null;
  const field = error.field && document.getElementById(`fl-${error.field}`);
  if (!field) { showProblem(error); return; }
  markBad(field);
  const show = () => {
    if (field.closest("#fl-advanced")) openAdvancedAt(field);
    requestAnimationFrame(() => field.querySelector("textarea, input")?.focus()); // Gradio shows a tab a moment after the click
  };
  showProblem(error, { action: { words: "Show the field", run: show } });
}

function openAdvancedAt(field) {
  setAdvanced(true);
  if (innerWidth < 720 && document.documentElement.dataset.sheet !== "advanced") setSheet("advanced");
  const panel = field.closest('[role="tabpanel"]');
  if (field.closest("#fl-guidance")) document.querySelector('#fl-toggle-guidance[aria-expanded="false"]')?.click();
  if (panel) openTab(panel.id.replace("fl-tab-", ""));
}

/** One line under Generate, for a while. */
export function say(words) {
  change({ said: words });
  clearTimeout(say.timer);
  if (words) say.timer = setTimeout(() => change({ said: "" }), 6000);
}

let asked = 0;

async function estimate(draft) {
  const mine = ++asked;
  try {
    const plan = await call("POST", "/v1/plan", toRecipe(draft));
    if (mine !== asked) return;
    if (mine > refused?.asked) forgive(); // another field was mended, such as the end of an interval
    change({ estimate: plan });
  } catch (error) {
    if (mine === asked) change({ estimate: null });
  }
}

/** The first picture that was measured tells how long the next ones take, and nobody has to touch a field for that. */
export function followSpeeds() {
  onEnd(({ state: ended }) => {
    if (ended === "finished" && state.draft && !state.estimate?.seconds_per_picture) estimate(state.draft);
  });
}

/** What the present settings will take, in words. */
export function estimateWords({ estimate: plan }) {
  if (!plan) return "";
  const each = plan.seconds_per_picture;
  if (plan.fetches.length) return `needs ${plan.fetches.map((one) => one.label + (one.size_bytes ? `, ${size(one.size_bytes)}` : "")).join(" and ")}`;
  if (!each) return [`${plan.recipe.steps} steps`, plan.memory?.is_tight && plan.memory.words].filter(Boolean).join(" · ");
  const time = plan.count > 1 ? `about ${duration(each * plan.count)} for ${plan.count}` : `about ${duration(each)}`;
  if (plan.memory?.is_tight) return `${time} · ${plan.memory.words}`;
  return plan.bytes_per_picture ? `${time} · ${memory(plan.bytes_per_picture)}` : time;
}

function remember(prompt) {
  const all = [prompt, ...read(PROMPTS, []).filter((one) => one !== prompt)].slice(0, 50);
  keep(PROMPTS, JSON.stringify(all));
}

/** ↑ in an empty prompt. */
export function lastPrompt() {
  const [last] = read(PROMPTS, []);
  if (last) fill({ prompt: last });
}

/** A failed picture: where it failed there is nothing to see, so say it where one asked for it. */
export function showFailure(task, details) {
  const again = () => { clear("task"); call("POST", `/v1/tasks/${task.id}/retry`).catch((error) => showProblem(error)); };
  showProblem({ ...task.error, details }, { key: "task", action: { words: "Try again", run: again } });
}

export const isBusy = () => Boolean(running()) || state.waiting > 0;
