// Words that a language model adds to the prompt: asked for here, read and changed in their field, drawn with.

import { call } from "./api.js";
import { differences, showChanged } from "./changes.js";
import { button, setText, whenThere } from "./dom.js";
import { expands, fill, refuse, say, toRecipe } from "./form.js";
import { onNotes } from "./live.js";
import { clear, showNote } from "./notice.js";
import { onChange, state } from "./store.js";

const told = new Set(); // sentences about words that could not be chosen: a batch says each once
let isAsking = false;
let written = ""; // what was put into the field last; anything else there is a person's own

const wordsNow = () => state.draft.expansion || "";

/** Other words at every click, unless the seed is fixed. What a person typed meanwhile stays, and before comes back. */
async function ask() {
  clear("form");
  const recipe = toRecipe(state.draft);
  recipe.seed ??= Math.floor(Math.random() * 2 ** 32);
  const before = wordsNow();
  const { expansion } = await call("POST", "/v1/expand", recipe);
  if (wordsNow() !== before) { say("Your own words stay."); return; }
  fill({ expansion });
  if (before && before !== written) {
    const found = differences({ ...state.draft, expansion: before }, { ...state.draft, expansion });
    showChanged(found, () => fill({ expansion: before }));
  }
  written = expansion;
}

/** The first words wait until everything is loaded, so the button says that it has heard. */
async function pressed({ currentTarget: place }) {
  if (isAsking) return;
  isAsking = true;
  place.setAttribute("aria-busy", "true");
  setText(place.lastChild, "Choosing…");
  try { await ask(); } catch (error) { refuse(error); }
  setText(place.lastChild, "Expand");
  place.removeAttribute("aria-busy");
  isAsking = false;
}

/** The button beside the field; both are there while the style that they belong to is chosen. */
export async function showExpansion() {
  onNotes((notes) => {
    const [first] = notes.filter((words) => !told.has(words));
    if (!first) return;
    told.add(first);
    showNote(first, { key: "words", shape: "warn" });
  });
  const place = await whenThere("fl-expand");
  place.append(button("Expand", { title: "Choose words now, to read and change them first", onclick: pressed }));
  onChange(() => { document.documentElement.dataset.expand = expands(state.draft) ? "on" : "off"; });
}
