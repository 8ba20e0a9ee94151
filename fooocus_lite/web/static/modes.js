// Speed modes: how long each takes with the model, what it puts into the form, and which fields it keeps to itself.

import { clear, showNote } from "./notice.js";
import { linkTo } from "./presets.js";
import { state } from "./store.js";

const UNBOUND = "speed"; // the mode that keeps nothing
let spared = {}; // what a mode's fields held before it took them

/** The model that would draw: without the tab Models there is one, and the preset or the program knows it. */
export function modelOf(draft, menu = state.menu) {
  const name = draft.model || state.estimate?.recipe.model || menu?.defaults.model;
  return menu?.models.find((one) => one.name === name);
}

/** What the menu says of a mode, with what the draft's model makes of it. */
function rowOf(draft, mode = draft.mode) {
  const own = modelOf(draft)?.modes.find((one) => one.id === mode);
  return own && { ...state.menu.modes.find((one) => one.id === mode), ...own };
}

/** Everything that the draft's mode decides. */
export const valuesOfMode = (draft) => rowOf(draft)?.values ?? {};

/** Names of the fields that the draft's mode keeps. */
export const keptFields = (draft) => rowOf(draft)?.keeps ?? [];

/** …and their values. */
export const keptIn = (draft) => Object.fromEntries(keptFields(draft).map((name) => [name, valuesOfMode(draft)[name]]));

/** Names of the fields that any mode keeps. */
const everKept = () => new Set(state.menu?.models.flatMap((model) => model.modes.flatMap((mode) => mode.keeps)));

/** "Quality · 2× as long" */
function modeWords({ label, available, lora, time }) {
  if (!available) return `${label} · ${lora ? "not here" : "not for this model"}`;
  if (time > 1.05) return `${label} · ${time < 1.95 ? time.toFixed(1) : Math.round(time)}× as long`;
  return time < 0.95 ? `${label} · 1/${Math.round(1 / time)} of the time` : label;
}

/** The modes as the draft's model has them, as an update of that field. */
export function modeFor(draft) {
  const rows = state.menu?.modes.map(({ id }) => rowOf(draft, id)).filter(Boolean) ?? [];
  return { __type__: "update", value: draft.mode, ...(rows.length ? { choices: rows.map((row) => [modeWords(row), row.id]) } : {}) };
}

/** Names of the fields that do nothing with the draft's model → why. */
const idleIn = (draft) => modelOf(draft)?.without ?? {};

/** Names of the fields that are not the person's: the mode keeps them, or the model has no place for them. */
export const takenFields = (draft) => [...keptFields(draft), ...Object.keys(idleIn(draft))];

/** Whether any mode keeps the field, or any model has no place for it. */
const isEverTaken = (name) => everKept().has(name) || Boolean(state.menu?.models.some((model) => name in model.without));

/** What goes into a widget: a field that the mode keeps, or that does nothing, is greyed out and says why. */
export function keptWidget(name, value, draft, info = "") {
  if (!isEverTaken(name)) return value;
  const update = value?.__type__ ? value : { __type__: "update", value };
  const row = rowOf(draft);
  const why = idleIn(draft)[name] ?? (row?.keeps.includes(name) ? row.why : "");
  return { ...update, interactive: !why, info: why || (update.info ?? info) };
}

/** Say what the chosen mode lacks, if it does. */
export function refuseMode(draft) {
  const row = rowOf(draft);
  clear("mode");
  if (!row || row.available) return false;
  const links = [linkTo(row.url, `Where to get ${row.lora}`)].filter(Boolean);
  showNote(row.problem, { key: "mode", shape: "warn", lines: [row.hint], extra: links });
  return true;
}

/** The draft with what its mode brings; what the former one kept is again as it was, or as preset or model have it. */
export function takeMode(draft) {
  const former = { ...draft, mode: state.chosenMode };
  const kept = keptFields(former);
  const usual = usualValues(draft);
  const freed = Object.fromEntries(kept.map((name) => [name, spared[name] ?? usual[name]]));
  if (!kept.length) spared = Object.fromEntries([...everKept()].map((name) => [name, draft[name]]));
  return { ...draft, ...freed, ...valuesOfMode(draft) };
}

/** What the fields hold where no mode keeps them: the preset's values, unless it is made for such a mode itself. */
function usualValues(draft) {
  const preset = state.menu?.presets.find((one) => one.name === draft.preset)?.values;
  return preset && !keptFields({ ...draft, mode: preset.mode }).length ? preset : modelOf(draft)?.values ?? {};
}

/** The draft for the model that was just chosen: in its mode, if the model has that. */
export function takeModel(draft) {
  return rowOf(draft)?.available ? draft : takeMode({ ...draft, mode: UNBOUND });
}
