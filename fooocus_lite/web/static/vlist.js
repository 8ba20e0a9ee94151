// A list of any length, of which only the rows in sight are in the document. One stop for the Tab key, as roving.js.

import { h } from "./dom.js";

const SPARE = 4; // rows that are kept ready beyond each edge
const TAP_MS = 350; // until a finger that was lifted has clicked

/**
 * Rows of one height (`--row` in the style sheet) inside `scroll`. `rows` says what they are: `count()`, `keyAt(at)`,
 * `make(at)` gives a node, `draw(node, at)` keeps it true, `seen(first, last)` hears what is in sight, and
 * `press(event, key)` takes keys that do not move the focus. A node has the key of its row as `dataset.key`: its place
 * is another one as soon as something else in the list is.
 */
export function makeList(scroll, { id, label }, rows) {
  const box = h("div", { id, className: "fl-list", role: "treegrid", "aria-label": label, dataset: { roving: "" } });
  const nodes = new Map(); // key -> node, of those in the document
  let tall = 0; // pixels
  let current = null; // key of the row that Tab reaches
  let at = 0; // its place, for when it is gone
  let held = null; // key of a row that stays in the document while it is dragged
  let isPressed = false; // the button of a mouse that clicks, or a finger, is down on a row
  let isDue = false; // something changed meanwhile
  let lifting = 0; // the timer that ends it

  const measure = () => { tall = parseFloat(getComputedStyle(box).getPropertyValue("--row")) || 0; };
  const placeOf = (node) => Number(node.dataset.at);
  const rowOf = (node) => node.closest?.('[role="row"]');

  /** Places of the rows that belong into the document, from the top. */
  function wanted(count) {
    const top = scroll.scrollTop - box.offsetTop;
    const first = Math.max(0, Math.floor(top / tall) - SPARE);
    const last = Math.min(count, Math.ceil((top + scroll.clientHeight) / tall) + SPARE);
    const places = [];
    for (let place = first; place < last; place += 1) places.push(place);
    const kept = [held, box.contains(document.activeElement) ? current : null].filter(Boolean);
    for (const key of kept) {
      const place = find(key, count);
      if (place < 0 || (place >= first && place < last)) continue;
      if (place < first) places.unshift(place);
      else places.push(place);
    }
    rows.seen(first, last);
    return places;
  }

  /** Where a row is now; it is most often where it was, or near. */
  function find(key, count = rows.count()) {
    const was = nodes.has(key) ? placeOf(nodes.get(key)) : at;
    for (let by = 0; by <= count; by += 1) {
      if (was + by < count && rows.keyAt(was + by) === key) return was + by;
      if (by && was - by >= 0 && was - by < count && rows.keyAt(was - by) === key) return was - by;
    }
    return -1;
  }

  function reach(node, isCurrent) {
    node.tabIndex = isCurrent ? 0 : -1;
    for (const one of node.querySelectorAll("button, a")) one.tabIndex = isCurrent ? 0 : -1;
  }

  function put(places) {
    const keys = new Set(places.map(rows.keyAt));
    for (const [key, node] of nodes) if (!keys.has(key)) { node.remove(); nodes.delete(key); }
    const order = [];
    for (const place of places) {
      const key = rows.keyAt(place);
      const isNew = !nodes.has(key);
      if (isNew) nodes.set(key, rows.make(place));
      const node = nodes.get(key);
      if (placeOf(node) !== place || isNew) {
        node.dataset.at = place;
        node.dataset.key = key;
        node.style.setProperty("--at", place);
      }
      rows.draw(node, place);
      if (isNew) reach(node, key === current);
      order.push(node);
    }
    arrange(order);
  }

  /** Put them in their order around the one that has the focus: that one is never taken out, as it would lose it. */
  function arrange(order) {
    const focused = order.findIndex((node) => node.contains(document.activeElement));
    const fixed = focused >= 0 ? focused : Math.max(0, order.findIndex((node) => node.parentNode === box));
    if (order.length && order[fixed].parentNode !== box) box.append(order[fixed]);
    for (let one = fixed - 1; one >= 0; one -= 1) if (order[one].nextSibling !== order[one + 1]) box.insertBefore(order[one], order[one + 1]);
    for (let one = fixed + 1; one < order.length; one += 1) if (order[one - 1].nextSibling !== order[one]) order[one - 1].after(order[one]);
  }

  /** Show what there is now; but nothing moves under a finger that is down: it would click another row, or none. */
  function draw() {
    isDue = isPressed && held === null;
    if (!isDue) paint();
  }

  function release() {
    isPressed = false;
    if (isDue) draw();
  }

  /** Make the document show what there is now; the focus stays with its row, or with the one in its place. */
  function paint() {
    if (scroll.offsetParent === null) return; // out of sight, as the sheets of a phone
    if (!tall) measure();
    const count = rows.count();
    const active = document.activeElement;
    const had = box.contains(active);
    box.style.height = `${count * tall}px`;
    put(wanted(count));
    if (current === null || !nodes.has(current)) settle(count);
    else at = placeOf(nodes.get(current));
    if (!had || document.activeElement === active) return;
    if (active.isConnected) active.focus({ preventScroll: true }); // its row was moved
    else if (count) focusAt(Math.min(at, count - 1));
    else scroll.focus();
  }

  function settle(count) {
    const first = [...nodes.values()].find((node) => placeOf(node) === Math.min(at, count - 1)) || nodes.values().next().value;
    if (first) go(first);
  }

  function go(node) {
    const { key } = node.dataset; // not what is at its place now: it may not be drawn yet
    if (nodes.has(current) && current !== key) reach(nodes.get(current), false);
    current = key;
    at = placeOf(node);
    reach(node, true);
  }

  function reveal(place) {
    const top = box.offsetTop + place * tall;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (top + tall > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + tall - scroll.clientHeight;
  }

  function focusAt(place) {
    reveal(place);
    put(wanted(rows.count()));
    nodes.get(rows.keyAt(place))?.focus({ preventScroll: true });
  }

  function moved(event, from) {
    const count = rows.count();
    const page = Math.max(1, Math.floor(scroll.clientHeight / tall) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return false;
    event.preventDefault();
    focusAt(Math.max(0, Math.min(count - 1, from + by)));
    return true;
  }

  box.addEventListener("focusin", ({ target }) => { if (rowOf(target)) go(rowOf(target)); });
  box.addEventListener("keydown", (event) => {
    const row = rowOf(event.target);
    if (row && !moved(event, placeOf(row))) rows.press?.(event, row.dataset.key);
  });
  box.addEventListener("pointerdown", ({ target, button }) => {
    clearTimeout(lifting);
    isPressed = button === 0 && Boolean(rowOf(target));
    if (!isPressed) release();
  });
  for (const [name, wait] of [["click", 0], ["contextmenu", 0], ["pointercancel", 0], ["pointerup", TAP_MS]]) { // no click may follow
    addEventListener(name, () => { if (isPressed) { clearTimeout(lifting); lifting = setTimeout(release, wait); } }, true);
  }
  scroll.tabIndex = -1; // else a browser makes what scrolls a stop of its own
  scroll.addEventListener("scroll", paint, { passive: true });
  new ResizeObserver(() => { measure(); draw(); }).observe(scroll);
  scroll.append(box);
  return {
    box, draw, focusAt, find,
    tall: () => tall,
    nodeOf: (key) => nodes.get(key),
    hold: (key) => { held = key; isPressed = isPressed && key !== null; },
    /** The row to which a height of the window belongs; one beyond the last is the end. */
    placeAt: (y) => Math.floor((y - box.getBoundingClientRect().top) / tall),
  };
}
