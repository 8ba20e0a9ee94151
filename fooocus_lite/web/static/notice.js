// What went wrong (or can be undone), where the action was: above the prompt, pushing nothing.

import { button, h, icon, whenThere } from "./dom.js";

const shownNow = new Map(); // key -> element

/** Take a notice away. */
export function clear(key) {
  shownNow.get(key)?.remove();
  shownNow.delete(key);
  if (key === "form") for (const node of document.querySelectorAll(".fl-bad-field")) node.classList.remove("fl-bad-field");
}

async function put(key, node, seconds) {
  const place = await whenThere("fl-notices");
  clear(key);
  shownNow.set(key, node);
  place.append(node);
  if (seconds) setTimeout(() => { if (shownNow.get(key) === node) clear(key); }, seconds * 1000);
}

/** An error: the problem, then the hint, then one button that does it. */
export function showProblem(error, { key = "form", action = null } = {}) {
  const dismiss = button("", { icon: "close", kind: "icon small bare", label: "Dismiss", onclick: () => clear(key) });
  const node = h(
    "div",
    { className: "fl-notice bad", role: "alert" },
    icon("warn"),
    h(
      "div",
      {},
      h("strong", { textContent: error.problem }),
      error.hint ? h("p", { textContent: error.hint }) : null,
      error.details
        ? h("details", {}, h("summary", { textContent: "Details" }), h("pre", { textContent: error.details }))
        : null,
    ),
    h("div", { className: "actions" }, action ? button(action.words, { kind: "small", onclick: action.run }) : null, dismiss),
  );
  put(key, node);
}

/** Something happened that can be taken back for some seconds. */
export function showUndo(words, undo, seconds = 8) {
  const key = `undo-${Date.now()}`;
  const back = button("Undo", { icon: "undo", kind: "small", onclick: () => { clear(key); undo(); } });
  const node = h("div", { className: "fl-notice", role: "status" }, icon("trash"), h("p", { textContent: words }), h("div", { className: "actions" }, back));
  put(key, node, seconds);
}
