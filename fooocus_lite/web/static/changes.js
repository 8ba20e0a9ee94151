// What a preset or a picture changed in the form: one line beside the preset, and a way back.

import { button, h, setText, whenThere } from "./dom.js";
import { guidanceFields } from "./guidances.js";
import { loraWords } from "./loralist.js";
import { state } from "./store.js";

const FIELDS = [ // [fields that are shown as one, what they are called, their value in words]
  [["prompt"], "prompt", ({ prompt }) => prompt],
  [["negative_prompt"], "negative prompt", ({ negative_prompt: text }) => text],
  [["styles"], "styles", ({ styles }) => (styles || []).join(", ")],
  [["loras"], "LoRAs", ({ loras }) => loraWords(loras)],
  [["expansion"], "added words", ({ expansion }) => expansion],
  [["model"], "model", ({ model }) => nameIn("models", "name", model)],
  [["refiner"], "refiner", ({ refiner }) => (refiner === "none" ? "" : nameIn("models", "name", refiner))],
  [["refiner_switch"], "refiner from", ({ refiner, refiner_switch: share }) => (refiner && refiner !== "none" ? share : "")],
  [["mode"], "mode", ({ mode }) => nameIn("modes", "id", mode)],
  [["width", "height"], "size", ({ width, height }) => (width && height ? `${width}×${height}` : "")],
  [["steps"], "steps", ({ steps }) => steps],
  [["sampler"], "sampler", ({ sampler }) => nameIn("samplers", "id", sampler)],
  [["scheduler"], "scheduler", ({ scheduler }) => nameIn("schedulers", "id", scheduler)],
  [["guidance_scale"], "guidance", ({ guidance_scale: scale }) => scale],
  [["clip_skip"], "CLIP skip", ({ clip_skip: layer }) => layer],
  [["count"], "pictures", ({ count }) => count],
  [["seed", "random_seed"], "seed", ({ seed, random_seed: isRandom }) => (isRandom ? "random" : seed)],
  [["image_format"], "file format", ({ image_format: format }) => format?.toUpperCase()],
  [["wildcard_order"], "words of wildcards", ({ wildcard_order: order }) => (order === "ordered" ? "in order" : "by the seed")],
  [["index"], "first combination", ({ index }) => index],
];
const LONG = 24; // characters from which on a value is only said to have changed

const nameIn = (rows, key, value) => state.menu?.[rows].find((row) => row[key] === value)?.label || value;
const inWords = (value) => (value === undefined || value === null ? "" : String(value));

/** What one draft has otherwise than another, as `{names, label, from, to}` with the values in words. */
export function differences(before, after) {
  const guidance = guidanceFields().map(({ name, label }) => [[name], label, (draft) => draft[name]]);
  return [...FIELDS, ...guidance].map(([names, label, read]) => ({ names, label, from: inWords(read(before)), to: inWords(read(after)) }))
    .filter(({ from, to }) => from !== to);
}

/** "steps 20 → 8, styles none → Watercolor" */
export function changeWords(found) {
  const value = (text) => text || "none";
  const isShort = ({ names, from, to }) => !/prompt/.test(names[0]) && from.length <= LONG && to.length <= LONG;
  return found.map((one) => (isShort(one) ? `${one.label} ${value(one.from)} → ${value(one.to)}` : `${one.label}${one.to ? "" : " (now empty)"}`)).join(", ");
}

/** The fields of `before` that `found` speaks of: what undoing them has to put back. */
export function formerValues(before, found) {
  return Object.fromEntries(found.flatMap(({ names }) => names).map((name) => [name, before[name]]));
}

/** Show the line; `undo` puts the former values back, and what `more` resolves to stands first, once it is there. */
export async function showChanged(found, undo, more = null) {
  const place = await whenThere("fl-changed");
  place.setAttribute("role", "status");
  const words = found.length ? `Changed: ${changeWords(found)}` : "Everything was so already.";
  const text = h("span", { title: words });
  const back = button("Undo", { icon: "undo", kind: "small bare", onclick: () => { hideChanged(); undo(); } });
  const close = button("", { icon: "close", kind: "icon small bare", label: "Hide what changed", onclick: hideChanged });
  place.replaceChildren(text, ...(found.length ? [back] : []), close);
  setText(text, words);
  const first = await more;
  if (first) setText(text, text.title = `${first} ${words}`);
}

/** Take the line away. */
export function hideChanged() {
  document.getElementById("fl-changed")?.replaceChildren();
}
