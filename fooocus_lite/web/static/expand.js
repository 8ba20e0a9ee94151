// Words that a language model adds to the prompt: asked for here, read and changed in their field, drawn with.

import { call } from "./api.js";
import { button, whenThere } from "./dom.js";
import { expands, fill, refuse, toRecipe } from "./form.js";
import { clear } from "./notice.js";
import { onChange, state } from "./store.js";

let isAsking = false;

/** Other words at every click, unless the seed is fixed. */
async function ask() {
  if (isAsking) return;
  isAsking = true;
  clear("form");
  const recipe = toRecipe(state.draft);
  recipe.seed ??= Math.floor(Math.random() * 2 ** 32);
  try {
    fill({ expansion: (await call("POST", "/v1/expand", recipe)).expansion });
  } catch (error) {
    refuse(error);
  } finally {
    isAsking = false;
  }
}

/** The button beside the field; both are there while the style that they belong to is chosen. */
export async function showExpansion() {
  const place = await whenThere("fl-expand");
  place.append(button("Expand", { title: "Choose words now, to read and change them first", onclick: ask }));
  onChange(() => { document.documentElement.dataset.expand = expands(state.draft) ? "on" : "off"; });
}
