// Pausing the whole line: nothing new is begun, which has to be seen wherever somebody waits for a picture.

import { button, h, icon, whenThere } from "./dom.js";
import { setPaused } from "./queueacts.js";
import { onChange, state } from "./store.js";

const WORDS = "Paused: nothing new is begun";

function makeSign(kind) {
  return h("div", { className: `fl-paused ${kind}`, hidden: true },
    icon("pause"), h("strong", { textContent: WORDS }),
    button("Resume", { icon: "play", kind: "small main fl-admin-only", onclick: () => setPaused(false) }));
}

/** The sign over the stage, and one in `queue` for when that lies over the stage. */
export async function showPaused(queue) {
  const signs = [makeSign("over"), makeSign("in")];
  queue.append(signs[1]);
  (await whenThere("fl-stage")).append(signs[0]);
  onChange(() => {
    for (const sign of signs) if (sign.hidden === state.paused) sign.hidden = !state.paused;
    document.documentElement.toggleAttribute("data-paused", state.paused);
  });
}

/** The button that pauses; while it is paused, that resumes. */
export function pauseButton() {
  const one = button("", { kind: "icon small bare fl-admin-only", onclick: () => setPaused(!state.paused) });
  let drawn = null;
  onChange(() => {
    if (drawn === state.paused) return;
    drawn = state.paused;
    const words = drawn ? "Resume" : "Pause";
    one.replaceChildren(icon(drawn ? "play" : "pause"), h("span", { className: "fl-phone-only", textContent: words }));
    one.setAttribute("aria-label", drawn ? "Resume the queue" : "Pause the queue");
    one.title = drawn ? "Go on" : "Begin nothing new; what is being drawn goes on";
  });
  return one;
}
