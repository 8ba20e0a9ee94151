// Making elements. Text is always text: nothing a person typed is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, attributes (names with - or role), listeners (on…) and children. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const ICONS = {
  left: "M10 3 5 8l5 5",
  right: "m6 3 5 5-5 5",
  close: "m4 4 8 8M12 4l-8 8",
  info: "M8 7v4M8 5v.01M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12Z",
  reuse: "M3 8a5 5 0 0 1 9-3l1 1M13 3v3h-3M13 8a5 5 0 0 1-9 3l-1-1M3 13v-3h3",
  save: "M8 2v8M5 7l3 3 3-3M3 13h10",
  folder: "M2 4.5v8h12v-7H8L6.5 4h-4Z",
  trash: "M3 4h10M6 4V2.5h4V4M4.5 4l.5 9.5h6l.5-9.5M7 7v4M9 7v4",
  warn: "M8 6v3M8 11.5v.01M7.1 2.6 1.6 12.3a1 1 0 0 0 .9 1.5h11a1 1 0 0 0 .9-1.5L8.9 2.6a1 1 0 0 0-1.8 0Z",
  grid: "M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 9.5h4v4h-4z",
  list: "M2 4h12M2 8h12M2 12h8",
  sliders: "M2 5h6M12 5h2M10 3v4M2 11h2M8 11h6M6 9v4",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5Z",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7",
  star: "m8 2 1.8 3.9 4.2.5-3.1 2.9.8 4.2L8 11.4l-3.7 2.1.8-4.2L2 6.4l4.2-.5Z",
  dice: "M3.5 2.5h9a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1ZM5.5 5.5v.01M10.5 5.5v.01M8 8v.01M5.5 10.5v.01M10.5 10.5v.01",
  plus: "M8 3v10M3 8h10",
  pause: "M5.5 3v10M10.5 3v10",
  pencil: "m3 13 .7-3L11 2.7a1.2 1.2 0 0 1 1.7 0l.6.6a1.2 1.2 0 0 1 0 1.7L6 12.3Z",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.3 10.3 14 14",
  sheet: "M2.5 2.5h11v11h-11zM2.5 8h11M6.2 2.5v11M9.8 2.5v11",
  dots: "M3 8.4a.4.4 0 1 0 0-.8.4.4 0 1 0 0 .8M8 8.4a.4.4 0 1 0 0-.8.4.4 0 1 0 0 .8M13 8.4a.4.4 0 1 0 0-.8.4.4 0 1 0 0 .8",
  leave: "M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6",
  down: "m4 6 4 4 4-4",
  up: "m4 10 4-4 4 4",
  first: "M3 3h10M8 13V6.5M4.5 9.5 8 6l3.5 3.5",
  last: "M3 13h10M8 3v6.5M4.5 6.5 8 10l3.5-3.5",
  grip: "M6 4v.01M6 8v.01M6 12v.01M10 4v.01M10 8v.01M10 12v.01",
  play: "m5 3 8 5-8 5Z",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.5V8l2.5 1.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  repeat: "M3 7V6a2 2 0 0 1 2-2h7M10 2l2 2-2 2M13 9v1a2 2 0 0 1-2 2H4M6 14l-2-2 2-2",
  open: "M9.5 2.5h4v4M13 3 9 7M6.5 13.5h-4v-4M3 13l4-4",
  undo: "M3 7h7a3.5 3.5 0 0 1 0 7H7M6 4 3 7l3 3",
};

/** A 16-px line icon; always beside words or a label, so hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({
    d: ICONS[name], fill: "none", stroke: "currentColor",
    "stroke-width": "1.4", "stroke-linecap": "round", "stroke-linejoin": "round",
  })) path.setAttribute(key, value);
  svg.append(path);
  return svg;
}

/** A button of ours: icon, words, what it does. */
export function button(words, { icon: shape, kind = "", label, title, onclick, ...rest } = {}) {
  return h(
    "button",
    { type: "button", className: `fl-btn ${kind}`.trim(), "aria-label": label, title, onclick, ...rest },
    shape ? icon(shape) : null,
    words ? h("span", { textContent: words }) : null,
  );
}

/** A button that copies the text that `read` gives, and says so. */
export function copyButton(words, read) {
  const one = button(words, { kind: "small", onclick: async () => {
    setText(one.lastChild, (await copy(read())) ? "Copied" : "This browser does not let pages copy");
    setTimeout(() => setText(one.lastChild, words), 2000);
  } });
  return one;
}

/** Only pages of this machine or over https get `navigator.clipboard`; the old way serves the rest. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { className: "fl-quiet", value: text });
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

/** The element with this id, as soon as Gradio has drawn it. */
export function whenThere(id) {
  const found = document.getElementById(id);
  if (found) return Promise.resolve(found);
  return new Promise((resolve) => {
    const watch = new MutationObserver(() => {
      const node = document.getElementById(id);
      if (node) { watch.disconnect(); resolve(node); }
    });
    watch.observe(document.documentElement, { childList: true, subtree: true });
  });
}

/** Text node -> {english, words}: what it said before language.js put other words there, and those. */
export const translations = new WeakMap();

/** What the program put into a node, in whatever language it stands there. */
function saidIn(node) {
  const { english, words } = translations.get(node.firstChild) ?? {};
  return words !== undefined && words === node.textContent ? english : node.textContent;
}

/** Set text only where it differs, so that nothing is repainted or re-read for no reason. */
export function setText(node, text) {
  if (saidIn(node) !== text) node.textContent = text;
}

/** "10,000" */
export const number = (count) => count.toLocaleString("en");

/** "2 min", "40 s". */
export function duration(seconds) {
  if (seconds < 1) return "1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** "7.1 GB", "640 MB". */
export function memory(bytes) {
  return bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MB` : `${(bytes / 2 ** 30).toFixed(1)} GB`;
}

/** "6.9 GB", "642 MB": what lies on a disk or comes over a line is counted in thousands. */
export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}

/** 1st, 2nd, 3rd, 4th. */
export function ordinal(n) {
  const tail = n % 100 >= 11 && n % 100 <= 13 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] || "th";
  return `${n}${tail}`;
}
