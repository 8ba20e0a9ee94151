// Dragging a row to another place: a mouse takes it anywhere but by a button, a pen or a finger by its handle.

import { h } from "./dom.js";
import { entryAt, entryOf } from "./line.js";
import { moveBeside } from "./queueacts.js";

const EDGE = 36; // pixels from the list's edges in which it scrolls by itself
const SPEED = 12; // pixels a frame, at the very edge
const THRESHOLD = 4; // pixels before it is a drag and no tap

/** The handle of the row that is taken; null where a press means something else. */
function gripAt({ target, pointerType }) {
  if (pointerType !== "mouse") return target.closest(".grip"); // elsewhere a finger scrolls
  return target.closest("button, img") ? null : target.closest('[role="row"]')?.querySelector(".grip");
}

/** Let the rows of `list` in `scroll` be dragged. */
export function letDrag(list, scroll) {
  const mark = h("div", { className: "fl-drop-here", role: "presentation", hidden: true });
  list.box.append(mark);
  let drag = null; // {key, row, pointer, from, y, target: {entry, side}}

  /** The batch beside which it would come, and on which side: never inside an unfolded one. */
  function targetAt(y) {
    let at = Math.max(0, list.placeAt(y));
    let entry = entryAt(at);
    while (at > 0 && !entry?.group) entry = entryAt(at -= 1);
    while (entry?.level === 2) entry = entryAt(at -= 1);
    if (!entry?.group) return null;
    const box = list.box.getBoundingClientRect();
    const middle = box.top + (at + 0.5) * list.tall();
    const runs = entry.row.state === "running"; // nothing comes before what is being drawn
    return { entry, at, side: y < middle && !runs ? "before" : "after" };
  }

  function endOf(at) {
    let last = at;
    while (entryAt(last + 1)?.level === 2) last += 1;
    return last + 1;
  }

  function show() {
    drag.target = entryOf(drag.key)?.group ? targetAt(drag.y) : null; // what waits no more goes nowhere
    mark.hidden = !drag.target;
    if (drag.target) mark.style.setProperty("--at", drag.target.side === "before" ? drag.target.at : endOf(drag.target.at));
    drag.row.style.setProperty("--drag", `${drag.y - drag.from + scroll.scrollTop - drag.top}px`);
  }

  function creep() {
    if (!drag) return;
    const { top, bottom } = scroll.getBoundingClientRect();
    const over = drag.y < top + EDGE ? drag.y - top - EDGE : Math.max(0, drag.y - bottom + EDGE);
    if (over) scroll.scrollTop += Math.max(-SPEED, Math.min(SPEED, (over / EDGE) * SPEED));
    show();
    requestAnimationFrame(creep);
  }

  function begin() {
    drag.isOn = true;
    list.hold(drag.key);
    drag.row.toggleAttribute("data-drag", true);
    creep();
  }

  function end(isDropped) {
    if (!drag) return;
    const { key, row, target, isOn } = drag;
    drag = null;
    list.hold(null);
    mark.hidden = true;
    row.toggleAttribute("data-drag", false);
    row.style.removeProperty("--drag");
    const entry = entryOf(key);
    if (isOn && isDropped && entry?.group && target && target.entry.key !== key) moveBeside(entry, target.entry, target.side);
    list.draw();
  }

  list.box.addEventListener("pointerdown", (event) => {
    const grip = gripAt(event);
    if (!grip || grip.hasAttribute("data-off") || event.button !== 0 || drag) return;
    const row = grip.closest('[role="row"]');
    if (grip.contains(event.target)) event.preventDefault();
    grip.setPointerCapture(event.pointerId);
    drag = { key: row.dataset.key, row, pointer: event.pointerId, from: event.clientY, y: event.clientY, top: scroll.scrollTop, target: null, isOn: false };
  });
  /** Anywhere: a row that leaves the document, as one that has ended, takes the capture with it. */
  const follow = (name, run) => addEventListener(name, (event) => { if (drag?.pointer === event.pointerId) run(event); }, true);
  follow("pointermove", ({ clientY }) => {
    drag.y = clientY;
    if (!drag.isOn && Math.abs(drag.y - drag.from) > THRESHOLD) begin();
  });
  follow("pointerup", () => end(true));
  follow("pointercancel", () => end(false));
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !drag?.isOn) return;
    event.stopPropagation();
    end(false);
  }, true);
}
