// Everything about one picture: enough to make it again.

import { button, copyButton, h } from "./dom.js";
import { loraWords } from "./loralist.js";
import { samplerWords } from "./samplers.js";
import { state } from "./store.js";

const ROWS = [
  ["Styles", (recipe) => (recipe.styles || []).join(", ")],
  ["Expansion", ({ expansion }) => (expansion === "" ? "none" : expansion)],
  ["LoRAs", (recipe) => loraWords(recipe.loras)],
  ["Not", (recipe) => recipe.negative_prompt],
  ["Size", (recipe) => `${recipe.width}×${recipe.height}`],
  ["Seed", (recipe) => recipe.seed],
  ["Steps", (recipe) => recipe.steps],
  ["Sampler", samplerWords],
  ["Guidance", (recipe) => recipe.guidance_scale],
  ["Attention guidance", (recipe) => recipe.sag_scale || ""],
  ["CLIP skip", (recipe) => (recipe.clip_skip === 2 ? "" : recipe.clip_skip)],
  ["Model", (recipe) => state.menu?.models.find((row) => row.name === recipe.model)?.label || recipe.model],
  ["Preset", (recipe) => state.menu?.presets.find((row) => row.name === recipe.preset)?.label || recipe.preset],
];

let shownFor = "";

/** Show the picture's recipe in `place`; of one that `isForming` as much as its queue row tells. */
export function drawDetails(place, { isForming = false, ...picture }, close) {
  const wanted = `${picture.id} ${isForming}`;
  if (shownFor === wanted) return;
  shownFor = wanted;
  const list = h("dl");
  const add = (name, value) => {
    if (value === undefined || value === null || value === "") return;
    list.append(h("dt", { textContent: name }), h("dd", { textContent: String(value) }));
  };
  for (const [name, read] of ROWS) add(name, read(picture.recipe));
  if (picture.finished_at) add("Drawn", new Date(picture.finished_at * 1000).toLocaleString());
  if (picture.seconds) add("Took", `${picture.seconds.toFixed(1)} s`);
  add("File", picture.file);
  const parts = [
    h("h2", {}, h("span", { textContent: isForming ? "Being drawn" : "This picture" }), button("", { icon: "close", kind: "icon small bare", label: "Close details", onclick: close })),
    h("p", { textContent: picture.recipe.prompt || "(no words)" }),
    list,
  ];
  if (!isForming) parts.push(copyButton("Copy the prompt", () => picture.recipe.prompt)); // a queue row has its beginning only
  place.replaceChildren(...parts);
}
