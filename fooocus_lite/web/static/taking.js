// A picture's settings into the form: what can be used here, what has to give way, and the way back.

import { wordsOf } from "./api.js";
import { differences, formerValues, showChanged } from "./changes.js";
import { fill, known } from "./form.js";
import { allOff } from "./guidances.js";
import { clear, showNote } from "./notice.js";
import { paired } from "./samplers.js";
import { state } from "./store.js";

const OTHER_WORDS = "A style or word list has changed since; the new words are used. “replay” draws the old ones (README.md, From a terminal).";

/** What a recipe that does not speak of it means. */
const UNSAID = {
  negative_prompt: "", styles: [], loras: [], index: 0, wildcard_order: "random", expansion: "", scheduler: "auto",
  mode: "speed", refiner: "none",
};

/** The fields that a recipe fills, and a sentence for each thing that cannot be so here. */
function usable({ seed, preset, model, count, ...rest }) {
  const said = Object.entries(rest).filter(([, value]) => value !== null);
  const fields = paired({ ...UNSAID, ...allOff(), ...Object.fromEntries(said) });
  const notes = [];
  const { models, presets, styles } = state.menu;
  const gone = fields.styles.filter((name) => !styles.some((row) => row.name === name));
  if (gone.length) notes.push(`No style here is called ${gone.join(" or ")}; it was left out.`);
  fields.styles = fields.styles.filter((name) => !gone.includes(name));
  if (seed === undefined || seed === null) fields.random_seed = true;
  else Object.assign(fields, { seed: String(seed), random_seed: false });
  if (presets.some((row) => row.name === preset)) fields.preset = preset;
  if (models.some((row) => row.name === model && row.available)) fields.model = model;
  const name = fields.model || state.draft.model || state.estimate?.recipe.model || state.menu.defaults.model;
  const drawn = models.find((row) => row.name === name);
  if (drawn && model && !fields.model) notes.push(`${drawn.label} draws it instead.`);
  if (drawn) fit(fields, drawn, notes);
  return { fields: known(fields), notes };
}

/** A size that the model cannot draw becomes its own size of the nearest shape. */
function fit(fields, model, notes) {
  const { width, height } = fields;
  const fits = (side) => side % model.size_multiple === 0 && side >= model.min_size && side <= model.max_size;
  if (!width || !height || (fits(width) && fits(height)) || !model.sizes.length) return;
  const distance = (size) => Math.abs(Math.log((size.width / size.height) * (height / width)));
  const nearest = model.sizes.reduce((best, size) => (distance(size) < distance(best) ? size : best));
  Object.assign(fields, { width: nearest.width, height: nearest.height });
  notes.push(`${width}×${height} is nothing ${model.label} can draw; ${nearest.width}×${nearest.height} is nearest in shape.`);
}

/** Fill the form, as `fill` does. `before` is the draft that Undo goes back to. Gives what was put in, what that changed, notes, and the undoing. */
export function takeSettings(recipe, before = state.draft, since = null) {
  const { fields, notes } = usable(recipe);
  const found = differences(before, { ...before, ...fields });
  fill(fields, since);
  return { fields, found, notes, undo: () => fill({ ...formerValues(before, found), preset: before.preset }) };
}

/** A sentence if the picture's words are not those that its recipe gives now. */
async function otherWords(id) {
  const words = await wordsOf(id).catch(() => null); // its file is gone: nobody can tell
  return words?.changed ? OTHER_WORDS : "";
}

/** "Use these settings": everything of a finished picture, its seed fixed. */
export function useSettings({ id, recipe }) {
  clear("taken");
  const { found, notes, undo } = takeSettings(recipe);
  showChanged(found, undo, otherWords(id));
  if (notes.length) showNote("This picture was drawn otherwise.", { key: "taken", shape: "warn", lines: notes });
}
