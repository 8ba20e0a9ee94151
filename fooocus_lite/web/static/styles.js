// All styles at a glance; the same choice as the dropdown under the prompt.

import { button, h, whenThere } from "./dom.js";
import { fill } from "./form.js";
import { onChange, state } from "./store.js";

const buttons = new Map();

function toggle(name) {
  const chosen = state.draft?.styles || [];
  fill({ styles: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name] });
}

/** Fill the Styles tab and keep it true. */
export async function showStyles() {
  const place = await whenThere("fl-stylelist");
  onChange(() => {
    if (!state.menu) return;
    if (!buttons.size) {
      let category = null;
      for (const style of state.menu.styles) {
        if (style.category !== category) {
          category = style.category;
          if (category) place.append(h("h3", { textContent: category }));
        }
        const one = button(style.name, { kind: "small", onclick: () => toggle(style.name) });
        buttons.set(style.name, one);
        place.append(one);
      }
    }
    const chosen = new Set(state.draft?.styles || []);
    for (const [name, one] of buttons) one.setAttribute("aria-pressed", String(chosen.has(name)));
  });
}
