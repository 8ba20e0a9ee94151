// Many buttons, one stop for the Tab key: arrows, Home and End move among them.

const MOVES = { ArrowRight: 1, ArrowLeft: -1, End: Infinity, Home: -Infinity };

const isSeen = (node) => node.offsetParent !== null;

/** The nearest one above or below: the page decides how many stand in a row. */
function across(all, from, isDown) {
  const { left, top } = from.getBoundingClientRect();
  const places = all.map((node) => ({ node, box: node.getBoundingClientRect() }));
  const beyond = places.filter(({ box }) => (isDown ? box.top > top + 4 : box.top < top - 4));
  const distance = ({ box }) => Math.abs(box.top - top) * 10 + Math.abs(box.left - left);
  return beyond.sort((a, b) => distance(a) - distance(b))[0]?.node;
}

/**
 * Let arrows move among the `items` (a selector) in `box`. Every item is in a `cell` (a selector),
 * whose other buttons can be reached by Tab while it is the current one.
 */
export function rove(box, items, cell) {
  box.dataset.roving = ""; // see keys.js: arrows mean nothing else in here
  const all = () => [...box.querySelectorAll(items)].filter(isSeen);
  const reach = (node, isCurrent) => {
    for (const one of node?.closest(cell)?.querySelectorAll("button, a") || []) one.tabIndex = isCurrent ? 0 : -1;
  };
  let current = null;
  const settle = () => {
    if (current && box.contains(current) && isSeen(current)) return;
    current = all()[0] || null;
    reach(current, true);
  };
  const go = (node) => {
    if (!node || node === current) return;
    reach(current, false);
    current = node;
    reach(current, true);
  };
  box.addEventListener("focusin", ({ target }) => go(target.closest(cell)?.querySelector(items)));
  box.addEventListener("keydown", (event) => {
    const from = event.target.closest(cell)?.querySelector(items);
    if (!from || event.ctrlKey || event.altKey || event.metaKey) return;
    const nodes = all();
    let to = null;
    if (event.key in MOVES) to = nodes[Math.max(0, Math.min(nodes.length - 1, nodes.indexOf(from) + MOVES[event.key]))];
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") to = across(nodes, from, event.key === "ArrowDown");
    else return;
    event.preventDefault();
    to?.focus();
  });
  return settle; // to be called when what is seen has changed
}
