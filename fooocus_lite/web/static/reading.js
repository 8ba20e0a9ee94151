// Settings from elsewhere: a picture dropped, pasted or picked, and text that another program wrote.

import { Problem, send } from "./api.js";
import { showChanged } from "./changes.js";
import { h, setText } from "./dom.js";
import { say } from "./form.js";
import { clear, showNote, showProblem } from "./notice.js";
import { isPopoverOpen } from "./popover.js";
import { importFile } from "./queuefile.js";
import { state } from "./store.js";
import { takeSettings } from "./taking.js";

const MAX_FILE_BYTES = 64_000_000; // as fooocus_lite.metadata.MAX_FILE_BYTES: what the server would refuse is not sent
const MAX_TEXT_CHARS = 4_000_000; // as fooocus_lite.untrusted.MAX_TEXT_BYTES
const MAX_FILES = 20; // looked into at once
const LINES = innerWidth < 720 ? 1 : 3; // notes that are shown at once; the others fold away
const PROGRAMS = { fooocus_lite: "Fooocus Lite", fooocus: "Fooocus", a1111: "A1111", comfyui: "ComfyUI", invokeai: "InvokeAI" };
const WHOLE_TEXT = "Paste it whole, from the prompt to the line that begins with Steps; or a JSON object.";
const PASTED = "A picture that was copied has often lost its settings on the way: drop the file itself.";
const KEY = "taken";
const root = document.documentElement;

/** What the server reads in a file. */
async function readFile(file, name) {
  if (file.size > MAX_FILE_BYTES) {
    throw new Problem({ problem: `${name} has more than ${MAX_FILE_BYTES / 1e6} MB.`, hint: "Choose the picture as the program that made it saved it." });
  }
  await file.slice(0, 1).arrayBuffer().catch(() => {
    throw new Problem({ problem: `${name} cannot be read.`, hint: "If it is a folder, drop the pictures in it." });
  });
  return send(`/v1/read?name=${encodeURIComponent(name.slice(0, 200))}`, file);
}

/** Whether what is wrong is what was sent, and not that the program is away. */
const isAbout = (error) => error.code === "unreadable_picture";

/** Use the first of these files that has settings. */
async function takeFiles(files, { isPasted = false } = {}) {
  if (!files.length) return;
  const before = state.draft;
  const refused = [];
  clear(KEY);
  say(files.length > 1 ? `Looking into ${files.length} files…` : "Reading the settings…");
  for (const file of files.slice(0, MAX_FILES)) {
    const name = (isPasted ? "" : file.name) || "What was pasted";
    try {
      const read = await readFile(file, name);
      say("");
      tell(read, name, before, files.length > 1 ? `The first of ${files.length} files that has settings.` : "");
      return;
    } catch (error) { refused.push(error); }
  }
  say("");
  const [first] = refused;
  if (isPasted && isAbout(first)) first.hint = PASTED;
  if (refused.length > 1) {
    const problem = `None of these ${refused.length} files has settings that can be read.`;
    showProblem({ problem, hint: first.hint, details: refused.map((one) => one.problem).join("\n") }, { key: KEY });
  } else showProblem(first, { key: KEY });
}

/** Use a text, as A1111, Civitai and others write it, or JSON. Rejects with a Problem. */
export async function readText(text, before = state.draft) {
  const read = await readFile(new Blob([text]), "The text").catch((error) => {
    throw isAbout(error) ? Object.assign(error, { hint: WHOLE_TEXT }) : error;
  });
  tell(read, "the text", before);
}

/** Fill the form and say what changed, whose settings these are, and what is otherwise here. */
function tell({ scheme, recipe, warnings }, name, before, first = "") {
  const { found, notes, undo } = takeSettings(recipe, before);
  const told = [...warnings, ...notes];
  showChanged(found, () => { clear(KEY); undo(); });
  showNote(`Settings of ${name}, as ${PROGRAMS[scheme] || scheme} writes them`, {
    key: KEY, shape: told.length ? "warn" : "reuse", lines: [first, ...told.slice(0, LINES)].filter(Boolean), more: told.slice(LINES), seconds: told.length ? 0 : 8,
  });
}

/** Let a person pick files. */
export function pickPictures() {
  const input = h("input", { type: "file", multiple: true, accept: "image/png,image/jpeg,image/webp,.txt,.json" });
  input.addEventListener("change", () => takeFiles([...input.files]));
  input.click();
}

// Dropping.

function listenToDrops() {
  let isOurs = false; // a drag that began on this page, such as a picture out of the gallery
  const brings = (event) => !isOurs && event.dataTransfer?.types.includes("Files");
  const end = () => root.removeAttribute("data-drop");
  const isForQueue = ({ target }) => Boolean(target.closest?.("#fl-queue"));
  const words = h("span");
  const over = (event) => {
    if (!brings(event)) return;
    setText(words, isForQueue(event) ? "Drop it: its prompts are lined up" : "Drop it: the settings in it are used");
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    root.setAttribute("data-drop", "");
  };
  document.addEventListener("dragstart", () => { isOurs = true; }, true);
  document.addEventListener("dragend", () => { isOurs = false; }, true);
  document.addEventListener("dragenter", over, true);
  document.addEventListener("dragover", over, true);
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) end(); }, true);
  document.addEventListener("drop", (event) => {
    end();
    if (!brings(event)) return;
    event.preventDefault();
    event.stopPropagation(); // a text field would open the file, or write its name
    if (isForQueue(event)) importFile(event.dataTransfer.files[0]);
    else takeFiles([...event.dataTransfer.files]);
  }, true);
  document.body.append(h("div", { id: "fl-drop", "aria-hidden": "true" }, words));
}

// Pasting.

const SETTINGS_LINE = /(^|\n)[ \t]*Steps: ?\d+,[^\n]*\b(Sampler|CFG scale|Seed|Size|Model): /i;
const KEYS = ["prompt", "recipe", "Prompt", "positive_prompt", "nodes", "seed"];

/** Whether a text is probably somebody's settings and not words for a picture. */
export function looksLikeSettings(text) {
  if (text.length > MAX_TEXT_CHARS) return false;
  if (SETTINGS_LINE.test(text)) return true;
  const trimmed = text.trim();
  if (!trimmed.startsWith("{") || !trimmed.endsWith("}")) return false;
  try {
    const data = JSON.parse(trimmed);
    return KEYS.some((key) => key in data) || Object.values(data).some((one) => one?.class_type);
  } catch { return false; }
}

function offer(text) {
  const before = state.draft;
  const run = () => { clear("offer"); readText(text, before).catch((error) => showProblem(error, { key: KEY })); };
  showNote("This looks like saved settings.", { key: "offer", shape: "reuse", action: { words: "Use them", run }, seconds: 30 });
}

function pasted(event) {
  const { target, clipboardData } = event;
  if (isPopoverOpen() || !clipboardData) return;
  const text = clipboardData.getData("text/plain");
  const isField = target.matches?.("input, textarea, [contenteditable]");
  if (!text && clipboardData.files.length) {
    event.preventDefault();
    takeFiles([...clipboardData.files], { isPasted: true });
  } else if (text && looksLikeSettings(text)) {
    if (target.matches?.("#fl-prompt textarea")) offer(text);
    else if (!isField) readText(text).catch((error) => showProblem(error, { key: KEY }));
  }
}

/** Listen, on the whole page. */
export function listenForSettings() {
  listenToDrops();
  document.addEventListener("paste", pasted, true);
}
