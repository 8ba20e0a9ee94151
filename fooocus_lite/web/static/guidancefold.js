// The folded group of guidance in the tab Expert: a line that opens it, says what is on, and switches all of it off.

import { button, h, setText, whenThere } from "./dom.js";
import { fill } from "./form.js";
import { allOff, guidanceFields, namesOn } from "./guidances.js";
import { keep, recall } from "./memory.js";
import { onChange, state } from "./store.js";

const OPEN = "fl.guidance";
const root = document.documentElement;

/** Unfold it, or fold it away, and remember that. */
export function setGuidance(open) {
  root.dataset.guidance = open ? "open" : "closed";
  keep(OPEN, root.dataset.guidance);
  document.getElementById("fl-toggle-guidance")?.setAttribute("aria-expanded", String(open));
}

/** Fill the place above the group, and keep saying what is on. */
export async function showGuidance() {
  const place = await whenThere("fl-guidancebar");
  const toggle = button("More guidance", {
    icon: "sliders", kind: "small", id: "fl-toggle-guidance", "aria-controls": "fl-guidance",
    onclick: () => setGuidance(root.dataset.guidance !== "open"),
  });
  const words = h("span", { className: "fl-note", role: "status" });
  let former = null; // what "All off" took away
  const switchOff = () => {
    former = Object.fromEntries(guidanceFields().map(({ name }) => [name, state.draft[name]]));
    fill(allOff());
  };
  const off = button("All off", { kind: "small bare", onclick: switchOff });
  const back = button("Undo", { icon: "undo", kind: "small bare", label: "Undo: guidance as before", onclick: () => fill(former) });
  place.append(toggle, words, off, back);
  setGuidance(recall(OPEN) === "open");
  onChange(({ draft }) => {
    const on = draft ? namesOn(draft) : [];
    setText(words, on.length ? `On: ${on.join(", ")}` : "All of it is off.");
    off.hidden = !on.length;
    back.hidden = on.length > 0 || !former;
  });
}
