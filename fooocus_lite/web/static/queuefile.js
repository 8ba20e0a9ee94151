// A queue out of a file and into one: our JSON, or a text with one prompt a line.

import { call, Problem } from "./api.js";
import { h } from "./dom.js";
import { say, toRecipe } from "./form.js";
import { look } from "./line.js";
import { clear, showNote, showProblem } from "./notice.js";
import { state } from "./store.js";

const KEY = "queue";
const MAX_BYTES = 30_000_000; // it grows a little on its way to fooocus_lite.queue_file.MAX_FILE_BYTES
const LINES = 3; // notes that are shown at once; the others fold away

/**
 * The text of a file: UTF-8, or UTF-16 as Windows calls "Unicode".
 * Anything else, such as a picture, would become a line of signs that nobody meant.
 */
async function textOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const form = { "255 254": "utf-16le", "254 255": "utf-16be" }[`${bytes[0]} ${bytes[1]}`] ?? "utf-8";
  try {
    const text = new TextDecoder(form, { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch { /* said below */ }
  throw new Problem({ problem: `${file.name} is no text.`, hint: "Save it as text in UTF-8, one prompt a line, and choose it again." });
}

/** Line up what is in a file. What a line of text leaves open is as the form has it. */
export async function importFile(file) {
  clear(KEY);
  if (file.size > MAX_BYTES) {
    showProblem({ problem: `${file.name} is too large to be a queue.`, hint: "Choose a text with one prompt a line, or a file that “Export the queue” wrote." }, { key: KEY });
    return;
  }
  try {
    const { ids, notes } = await call("POST", "/v1/queue/import", { text: await textOf(file), recipe: toRecipe(state.draft) });
    look();
    const words = `${ids.length} ${ids.length === 1 ? "picture" : "pictures"} lined up from ${file.name}`;
    if (notes.length) showNote(words, { key: KEY, shape: "list", lines: notes.slice(0, LINES), more: notes.slice(LINES) });
    else say(words);
  } catch (error) {
    showProblem({ problem: error.problem || `${file.name} cannot be read.`, hint: error.hint || "Choose the file again.", details: error.problem ? "" : String(error) }, { key: KEY });
  }
}

/** Let a person pick a file. */
export function pickQueue() {
  const input = h("input", { type: "file", accept: ".txt,.json,text/plain,application/json" });
  input.addEventListener("change", () => { if (input.files.length) importFile(input.files[0]); });
  input.click();
}

/** Save what waits as a file: "json" is all of it, "text" the prompts alone. */
export function exportQueue(form) {
  h("a", { href: `/v1/queue/export?form=${form}`, download: "" }).click();
}
