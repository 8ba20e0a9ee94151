// All styles at a glance; the same choice as the dropdown under the prompt.

import { button, h, whenThere } from "./dom.js";
import { fill } from "./form.js";
import { onChange, state } from "./store.js";

const buttons = new Map();

function toggle(name) {
  const chosen = state.draft?.styles || [];
  fill({ styles: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name] });
}

function section(category, styles) {
  const choices = h("div", { className: "choices" });
  for (const style of styles) {
    const one = button(style.name, { kind: "small", "aria-pressed": "false", onclick: () => toggle(style.name) });
    buttons.set(style.name, one);
    choices.append(one);
  }
  return h("section", {}, h("h3", { textContent: category || "Own" }), choices);
}

/** By category: those that the model learned at once, the others folded away. */
function build(place, { styles, models, defaults }) {
  const groups = new Map();
  for (const style of styles) groups.set(style.category, [...(groups.get(style.category) || []), style]);
  const learned = models.find((model) => model.name === defaults.model)?.style_categories || [];
  const more = h("details", {}, h("summary", { textContent: "More styles, for larger models" }));
  for (const [category, group] of groups) {
    const fits = learned.length === 0 || learned.includes(category) || !category || group[0].kind === "random";
    (fits ? place : more).append(section(category, group));
  }
  if (more.childElementCount > 1) place.append(more);
}

/** The dropdown's list lies over the prompt: it goes after a choice. Gradio leaves it open until the focus goes. */
function closeAfterChoice() {
  const box = () => document.querySelector('#fl-styles input[role="combobox"][aria-expanded="true"]');
  document.addEventListener("mousedown", ({ target }) => {
    const list = target.closest("ul.option-list");
    if (list && list.id === box()?.getAttribute("aria-controls")) setTimeout(() => box()?.blur());
  });
  document.addEventListener("keydown", ({ key, target }) => {
    if (key !== "Enter" || target !== box()) return; // from the keyboard the focus stays
    setTimeout(() => box()?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true })));
  });
}

/** Fill the Styles tab and keep it true. */
export async function showStyles() {
  closeAfterChoice();
  const place = await whenThere("fl-stylelist");
  onChange(() => {
    if (!state.menu) return;
    if (!buttons.size) build(place, state.menu);
    const chosen = new Set(state.draft?.styles || []);
    for (const [name, one] of buttons) one.setAttribute("aria-pressed", String(chosen.has(name)));
  });
}
