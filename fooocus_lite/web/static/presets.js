// Choosing a preset: it fills the form, says what that changed, and says what it needs and is not here.

import { differences, formerValues, showChanged } from "./changes.js";
import { h } from "./dom.js";
import { draftOf, fill, known, presetRow, widgets } from "./form.js";
import { modelOf } from "./modes.js";
import { clear, showNote } from "./notice.js";
import { paired } from "./samplers.js";
import { state } from "./store.js";

/** What a preset leaves as it is unless it speaks of it: words, luck, how many, and where they go. */
export const YOURS = ["prompt", "negative_prompt", "seed", "count", "image_format", "wildcard_order", "index", "expansion"];

/** What choosing a preset puts into the fields. */
function valuesOf({ recipe, values }) {
  const filled = { ...values };
  for (const name of YOURS) if (recipe[name] === undefined || recipe[name] === "") delete filled[name];
  if (filled.seed !== undefined) Object.assign(filled, { seed: String(filled.seed), random_seed: false });
  return known(paired(filled));
}

let last = { asked: "", answer: null };

/** Gradio calls this when another preset was chosen, with all values; for one choice often twice. */
export function presetChosen(values) {
  const asked = JSON.stringify(values);
  if (asked !== last.asked) last = { asked, answer: choose(values) };
  return last.answer;
}

function choose(values) {
  const draft = draftOf(values);
  const preset = presetRow(draft.preset);
  if (!preset) return values;
  const former = state.chosenPreset;
  const after = preset.values ? { ...draft, ...valuesOf(preset), preset: preset.name } : draft;
  const found = differences(draft, after);
  const undo = () => { last.asked = ""; clear("preset"); fill({ ...formerValues(draft, found), preset: former }); };
  if (preset.values) showChanged(found, undo);
  tellNeeds(preset, after, former === preset.name ? null : undo);
  return widgets(after);
}

/** A link only to where a browser may go: the address comes out of a file that somebody wrote. */
export function linkTo(url, words) {
  if (!/^https?:\/\//i.test(url)) return null;
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer", textContent: words });
}

/** What of a preset's needs is known to be missing, and nobody here can fetch. */
export const missingOf = (preset) => preset.needs.filter((need) => need.available === false && !need.can_be_fetched);

/** "The mode Lightning is not made for Starter.", where that is so of what would be drawn. */
function modeProblem(draft) {
  const mode = modelOf(draft)?.modes.find((row) => row.id === draft.mode);
  return mode && !mode.available && !mode.lora ? `${mode.problem} ${mode.hint}` : "";
}

/** Where a person puts what is missing. */
function placeOf(missing) {
  const kinds = new Set(missing.map((need) => need.kind));
  if (!kinds.has("lora")) return "the models folder";
  return kinds.size > 1 ? "the models folder, LoRAs into models/loras/" : "models/loras/";
}

function tellNeeds(preset, after, undo) {
  clear("preset");
  const missing = missingOf(preset);
  const problem = preset.values ? modeProblem(after) : ""; // else the draft is still the former one
  if (!missing.length && !problem && preset.values) return;
  const links = missing.map((need) => linkTo(need.url, `Where to get ${need.file}`)).filter(Boolean);
  const [it, is] = missing.length > 1 ? ["them", "are"] : ["it", "is"];
  const hint = links.length ? `Get ${it}, put ${it} into ${placeOf(missing)}, and choose the preset again.` : `Put ${it} into ${placeOf(missing)}, or choose another preset.`;
  const title = missing.length ? `${preset.label} needs ${missing.map((need) => need.file).join(", ")}, which ${is} not here.` : problem || preset.problem;
  const lines = missing.length ? [hint, problem].filter(Boolean) : [];
  showNote(title, { key: "preset", shape: "warn", lines, extra: links, undo });
}
