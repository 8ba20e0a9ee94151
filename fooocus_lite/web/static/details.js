// Everything about one picture: enough to make it again.

import { wordsOf } from "./api.js";
import { button, copyButton, h } from "./dom.js";
import { guidanceOn } from "./guidances.js";
import { loraWords } from "./loralist.js";
import { samplerWords } from "./samplers.js";
import { state } from "./store.js";

/** What was drawn, where that is not what was typed. */
const drawnWords = ({ prompt }, { texts = [] }) => (texts.join("\n") === prompt ? "" : texts.join(" · "));

const ROWS = [ // [name, its value in words, of the recipe and of what the server says of the picture's words]
  ["Words", drawnWords],
  ["Styles", (recipe) => (recipe.styles || []).join(", ")],
  ["Expansion", ({ expansion }) => (expansion === "" ? "none" : expansion)],
  ["LoRAs", (recipe, { loras = recipe.loras }) => loraWords(loras)],
  ["Not", (recipe) => recipe.negative_prompt],
  ["Size", (recipe) => `${recipe.width}×${recipe.height}`],
  ["Seed", (recipe) => recipe.seed],
  ["Mode", (recipe) => state.menu?.modes.find((row) => row.id === recipe.mode)?.label || recipe.mode],
  ["Steps", (recipe) => recipe.steps],
  ["Sampler", (recipe) => samplerWords(recipe)], // its second argument is a menu
  ["Guidance", (recipe) => recipe.guidance_scale],
  ["CLIP skip", (recipe) => (recipe.clip_skip === 2 ? "" : recipe.clip_skip)],
  ["Model", (recipe) => state.menu?.models.find((row) => row.name === recipe.model)?.label || recipe.model],
  ["Refiner", ({ refiner, refiner_switch: share }) => (refiner && refiner !== "none" ? `${state.menu?.models.find((row) => row.name === refiner)?.label || refiner} from ${share}` : "")],
  ["Preset", (recipe) => state.menu?.presets.find((row) => row.name === recipe.preset)?.label || recipe.preset],
];

let shownFor = "";

/** Names and values; `words` as the server says of them, once it has. */
function rowsOf(picture, words = {}) {
  const rows = [];
  const add = (name, value) => {
    if (value === undefined || value === null || value === "") return;
    rows.push(h("dt", { textContent: name }), h("dd", { textContent: String(value) }));
  };
  for (const [name, read] of ROWS) add(name, read(picture.recipe, words));
  for (const [name, values] of guidanceOn(picture.recipe)) add(name, values);
  if (picture.finished_at) add("Drawn", new Date(picture.finished_at * 1000).toLocaleString());
  if (picture.seconds) add("Took", `${picture.seconds.toFixed(1)} s`);
  if (picture.owner !== state.user.name) add("Asked by", picture.owner);
  add("File", picture.file);
  return rows;
}

/** Show the picture's recipe in `place`; of one that `isForming` as much as its queue row tells. */
export function drawDetails(place, { isForming = false, ...picture }, close) {
  const wanted = `${picture.id} ${isForming}`;
  if (shownFor === wanted) return;
  shownFor = wanted;
  const list = h("dl", {}, ...rowsOf(picture));
  // Its file is gone: then the recipe has to do.
  if (!isForming) wordsOf(picture.id).then((words) => list.replaceChildren(...rowsOf(picture, words)), () => {});
  const parts = [
    h("h2", {}, h("span", { textContent: isForming ? "Being drawn" : "This picture" }), button("", { icon: "close", kind: "icon small bare", label: "Close details", onclick: close })),
    h("p", { textContent: picture.recipe.prompt || "(no words)" }),
    list,
  ];
  if (!isForming) parts.push(copyButton("Copy the prompt", () => picture.recipe.prompt)); // a queue row has its beginning only
  place.replaceChildren(...parts);
}
