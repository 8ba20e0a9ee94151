// The page in another language: its labels become what a file says for them, as text and never as markup.
// Only loaded when a language is set; see LANGUAGE in web/ui.py.

import { call } from "./api.js";
import { translations } from "./dom.js";

/** What a person or a file says and no label, by where it stands: nothing in these is touched. */
const SAID = [
  '[role="listbox"]', ".token", "#fl-models .name", // names that a field offers, and those that it holds
  "[contenteditable]",
  "#fl-ideas", // words that a click puts into the prompt
  ".fl-group", ".fl-switches", "#fl-chosen button", // styles, and the files that they stand in
  "#fl-loras .list", "#fl-loras .missing",
  "#fl-presetpop section h2", "#fl-presetpop section p", "#fl-presetpop section li", "#fl-presetpop .fl-boxes b",
  "#fl-rows .what", "#fl-past .what", ".fl-repeats .what", ".fl-editing .words", "#fl-grid", "#fl-strip .words", "#fl-details dd", "#fl-details p", // prompts and pictures
  "#fl-contact h2", "#fl-contact select", "#fl-contact li",
].join(", ");
/** What stands in these is no label either, but their attributes may be. */
const VERBATIM = "textarea, pre, script, style";
const ATTRIBUTES = ["placeholder", "title", "aria-label"];
const exact = new Map();
const loose = new Map(); // by the English text in small letters
const written = new WeakMap(); // element -> its attributes as they were put here

/** The text with the file's words for it, the space around it kept; itself where there are none. */
function translated(text) {
  const english = text.trim();
  const words = exact.get(english) ?? loose.get(english.toLowerCase());
  return words === undefined ? text : text.replace(english, () => words);
}

function translateText(node) {
  const english = node.data;
  if (english === translations.get(node)?.words) return; // put here before; it may be English for something else
  if (!node.parentElement || node.parentElement.closest(`${SAID}, ${VERBATIM}`)) return;
  const words = translated(english);
  if (words === english) return;
  translations.set(node, { english, words });
  node.data = words;
}

function translateAttribute(node, name) {
  const english = node.getAttribute(name);
  if (!english || english === written.get(node)?.[name] || node.closest(SAID)) return;
  const words = translated(english);
  if (words === english) return;
  written.set(node, { ...written.get(node), [name]: words });
  node.setAttribute(name, words);
}

function translateAll(node) {
  if (node.nodeType === Node.TEXT_NODE) translateText(node);
  if (node.nodeType !== Node.ELEMENT_NODE || node.closest(SAID)) return;
  for (const name of ATTRIBUTES) translateAttribute(node, name);
  for (const child of node.childNodes) translateAll(child);
}

function seen({ type, target, attributeName, addedNodes }) {
  if (type === "characterData") translateText(target);
  else if (type === "attributes") translateAttribute(target, attributeName);
  else addedNodes.forEach(translateAll);
}

const { words } = await call("GET", "/v1/language").catch(() => ({ words: {} })); // then it stays English
for (const [english, said] of Object.entries(words)) {
  exact.set(english, said);
  const small = english.toLowerCase();
  if (!loose.has(small)) loose.set(small, said);
}
if (exact.size) {
  translateAll(document.body);
  const watch = new MutationObserver((changes) => changes.forEach(seen));
  watch.observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ATTRIBUTES });
}
