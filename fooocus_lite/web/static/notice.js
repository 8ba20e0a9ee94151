// What went wrong (or can be undone), where the action was: above the prompt, pushing nothing.

import { button, copyButton, h, icon, whenThere } from "./dom.js";
import { inLabels } from "./labels.js";

const shownNow = new Map(); // key -> element

function remove(key) {
  shownNow.get(key)?.remove();
  shownNow.delete(key);
}

/** Take a notice away, and the mark of the field that it was about. */
export function clear(key) {
  remove(key);
  if (key === "form") for (const node of document.querySelectorAll("[data-bad]")) mark(node, false);
}

/** Mark the field that an error is about, until its notice goes. */
export function markBad(field) {
  mark(field, true);
}

function mark(field, isBad) {
  field.toggleAttribute("data-bad", isBad); // not a class: Gradio writes the classes of its widgets anew
  for (const input of field.querySelectorAll("textarea, input")) {
    if (isBad) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}

/** Of what stays in sight above it: the bar of an editing. */
function stickyHeight(node) {
  const [first] = node.parentNode.children;
  return first !== node && getComputedStyle(first).position === "sticky" ? first.offsetHeight + 8 : 0;
}

async function put(key, node, seconds) {
  const place = await whenThere("fl-notices");
  const hadFocus = shownNow.get(key)?.contains(document.activeElement);
  remove(key);
  node.dataset.key = key;
  shownNow.set(key, node);
  place.append(node);
  place.scrollTop = node.offsetTop - stickyHeight(node); // on a phone, where several do not fit
  if (hadFocus) node.querySelector(".actions button")?.focus({ preventScroll: true }); // it was in the one before
  if (seconds) setTimeout(() => { if (shownNow.get(key) === node) clear(key); }, seconds * 1000);
}

/** Something of its own, until it is cleared. */
export const pin = put;

/** An error: the problem, then the hint, then one button that does it: `{words, run}`, or `{words, copies}` with a text. */
export function showProblem(error, { key = "form", action = null } = {}) {
  const dismiss = button("", { icon: "close", kind: "icon small bare", label: "Dismiss", onclick: () => clear(key) });
  const { problem, hint } = inLabels(error);
  const node = h(
    "div",
    { className: "fl-notice bad", role: "alert", dataset: { code: error.code ?? "" } },
    icon("warn"),
    h(
      "div",
      {},
      h("strong", { textContent: problem }),
      hint ? h("p", { textContent: hint }) : null,
      error.details
        ? h("details", {}, h("summary", { textContent: "Details" }), h("pre", { textContent: error.details }),
          copyButton("Copy the details", () => [problem, hint, error.details].filter(Boolean).join("\n")))
        : null,
    ),
    h("div", { className: "actions" }, actionButton(action), dismiss),
  );
  put(key, node);
}

function actionButton(action) {
  if (!action) return null;
  return action.copies ? copyButton(action.words, () => action.copies) : button(action.words, { kind: "small", onclick: action.run });
}

/** The program answers again: that it did not is no news any more. */
export function clearOffline() {
  for (const [key, node] of shownNow) if (node.dataset.code === "offline") clear(key);
}

/** Something to know, with a way back: `lines` below the title, `more` folded away, `extra` elements, `action` a button. */
export function showNote(title, { key, shape = "info", lines = [], more = [], extra = [], action = null, undo = null, seconds = 0 }) {
  const say = (words) => h("p", { textContent: words });
  const back = undo ? button("Undo", { icon: "undo", kind: "small", onclick: () => { clear(key); undo(); } }) : null;
  const dismiss = button("", { icon: "close", kind: "icon small bare", label: "Dismiss", onclick: () => clear(key) });
  const rest = more.length ? h("details", {}, h("summary", { textContent: `${more.length} more` }), ...more.map(say)) : null;
  const text = h("div", {}, h("strong", { textContent: title }), ...lines.map(say), ...extra, rest);
  put(key, h("div", { className: "fl-notice", role: "status" }, icon(shape), text, h("div", { className: "actions" }, actionButton(action), back, dismiss)), seconds);
}

/** Something happened that can be taken back for some seconds. */
export function showUndo(words, undo, seconds = 8) {
  const key = `undo-${Date.now()}`;
  const back = button("Undo", { icon: "undo", kind: "small", onclick: () => { clear(key); undo(); } });
  const node = h("div", { className: "fl-notice", role: "status" }, icon("trash"), h("p", { textContent: words }), h("div", { className: "actions" }, back));
  put(key, node, seconds);
}
