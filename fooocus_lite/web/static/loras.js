// The LoRA tab: search, on and off, weight, the words that make one show, and what it was made for.

import { call } from "./api.js";
import { h, icon, setText, whenThere } from "./dom.js";
import { fill } from "./form.js";
import { byName, lorasOf } from "./loralist.js";
import { showProblem } from "./notice.js";
import { onChange, state } from "./store.js";
import { makeLook } from "./tiles.js";

const RANGE = 2; // of the slider; the number beside it goes as far as a recipe does
const MOST = 10;
let parts = null;
let rows = []; // {file, item, pick, look, weight, slider, note, words}
let fileOf = byName([]); // the file that a name means
let wish = null; // the list as clicked, until the form has it
let drawn = {};
const weights = new Map(); // of those that were switched off

const chosenNow = () => wish || lorasOf(state.draft?.loras);
const rowIn = (list, file) => list.find((row) => fileOf(row.name) === file);

function choose(list) {
  wish = list;
  fill({ loras: list });
  draw();
  clearTimeout(choose.timer);
  choose.timer = setTimeout(() => { wish = null; draw(); }, 2000);
}

/** On at its last weight, or off and out of the list. */
function toggle(file) {
  const list = chosenNow();
  const row = rowIn(list, file);
  const rest = list.filter((one) => one !== row);
  if (row?.enabled) {
    weights.set(file.name, row.weight);
    choose(rest);
  } else choose([...rest, { name: file.name, weight: row?.weight ?? weights.get(file.name) ?? 1, enabled: true }]);
}

/** The weight in `input` from now on; what is none is put back. */
function weigh(file, input) {
  const list = chosenNow();
  const row = rowIn(list, file);
  if (!row) return;
  const wanted = input.value === "" ? row.weight : Number(input.value);
  const weight = Math.round(Math.min(MOST, Math.max(-MOST, wanted)) * 100) / 100;
  input.value = weight; // drawing leaves alone what one is in
  if (weight !== row.weight) choose(list.map((one) => (one === row ? { ...one, weight } : one)));
}

/** A word into the prompt, at its end, once. */
function say(word) {
  const prompt = document.querySelector("#fl-prompt textarea")?.value ?? state.draft?.prompt ?? "";
  if (prompt.toLowerCase().includes(word.toLowerCase())) return;
  fill({ prompt: prompt.trim() ? `${prompt.replace(/[\s,]+$/, "")}, ${word}` : word });
}

const modelNow = () => {
  const name = state.draft?.model || state.estimate?.recipe.model || state.menu?.defaults.model;
  return state.menu?.models.find((model) => model.name === name) || { name, label: name };
};

/** Why it cannot be used now; empty when it can. */
function hindrance(file) {
  if (file.problem) return file.problem;
  const model = modelNow();
  if (!model.name || file.fits.includes(model.name)) return "";
  return `Made for ${file.kind || "another model"}; ${model.label} is another kind.`;
}

const hueOf = (name) => [...name].reduce((sum, sign) => (sum * 31 + sign.codePointAt(0)) % 360, 7);

function makeRow(file) {
  const label = file.title || file.name;
  const look = makeLook(label, hueOf(file.name));
  if (file.has_picture) look.append(h("img", { alt: "", loading: "lazy", width: 96, height: 96, src: `/v1/lora-pictures/${encodeURIComponent(file.name)}` }));
  const facts = [file.title && file.title !== file.name ? file.name : "", file.rank ? `rank ${file.rank}` : ""].filter(Boolean).join(" · ");
  const row = { file, words: `${file.name} ${file.title} ${file.kind} ${file.words.join(" ")}`.toLowerCase() };
  row.pick = h("button", { type: "button", className: "pick", "aria-pressed": "false", title: file.note || file.name, onclick: () => toggle(file) },
    look, h("span", { className: "name" }, h("span", { textContent: label }), facts ? h("small", { textContent: facts }) : null), h("span", { className: "switch", "aria-hidden": "true" }));
  row.slider = h("input", { type: "range", min: -RANGE, max: RANGE, step: 0.05, "aria-label": `Weight of ${label}`, oninput: () => { row.number.value = row.slider.value; }, onchange: () => weigh(file, row.slider) });
  row.number = h("input", { type: "number", min: -MOST, max: MOST, step: 0.05, "aria-label": `Weight of ${label} as a number`, onchange: () => weigh(file, row.number) });
  row.weight = h("div", { className: "weight fl-field" }, row.slider, row.number);
  row.note = h("p", { className: "misfit" });
  const words = file.words.map((word) => h("button", { type: "button", className: "word", title: "Put into the prompt", "aria-label": `Put into the prompt: ${word}`, onclick: () => say(word) }, icon("plus"), h("span", { textContent: word })));
  row.item = h("li", {}, row.pick, row.note, row.weight, words.length ? h("div", { className: "words" }, ...words) : null);
  return row;
}

/** Chosen ones that no file here answers to: a preset or a picture brought them. */
function drawMissing() {
  const missing = chosenNow().filter((row) => row.enabled && !fileOf(row.name));
  parts.missing.replaceChildren(...missing.map((row) => h("li", {},
    h("span", { textContent: `${row.name} is not here; pictures are made without it.` }),
    h("button", { type: "button", className: "fl-btn small bare", textContent: "Take it out", "aria-label": `Take out: ${row.name}`, onclick: () => choose(chosenNow().filter((one) => one.name !== row.name)) }))));
}

function drawRow(row) {
  const chosen = rowIn(chosenNow(), row.file);
  const isOn = Boolean(chosen?.enabled);
  const why = hindrance(row.file);
  row.pick.setAttribute("aria-pressed", String(isOn));
  row.item.dataset.state = isOn ? "on" : "off";
  row.item.toggleAttribute("data-misfit", why !== "");
  row.pick.disabled = why !== "" && !isOn;
  setText(row.note, why);
  row.weight.hidden = !isOn;
  for (const input of isOn ? [row.slider, row.number] : []) {
    if (input !== document.activeElement || wish) input.value = chosen.weight; // what is being typed stays
  }
}

function draw() {
  if (!state.menu || !parts) return;
  if (wish && JSON.stringify(wish) === JSON.stringify(lorasOf(state.draft?.loras))) wish = null;
  const key = JSON.stringify([wish, state.draft?.loras, modelNow().name]);
  if (drawn.key === key && drawn.rows === rows) return;
  drawn = { ...drawn, key, rows };
  rows.forEach(drawRow);
  drawMissing();
  const count = chosenNow().filter((row) => row.enabled).length;
  setText(parts.count, count ? `${count} on` : "");
}

function search() {
  const wanted = parts.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const row of rows) {
    const fits = wanted.every((word) => row.words.includes(word));
    row.item.hidden = !fits;
    if (fits) found += 1;
  }
  parts.none.hidden = found > 0;
  setText(parts.none, rows.length ? "No LoRA is called so." : "There are none yet. Put .safetensors files into models/loras, and open this tab again.");
}

/** What is in the folders now: asked whenever the tab is opened. */
async function load() {
  try {
    const { loras } = await call("GET", "/v1/loras");
    const key = JSON.stringify(loras);
    if (drawn.files !== key) {
      rows = loras.map(makeRow);
      fileOf = byName(loras);
      parts.list.replaceChildren(...rows.map((row) => row.item));
      draw();
      drawn.files = key;
    }
    search();
  } catch (error) {
    showProblem(error);
  }
}

/** Fill the LoRA tab and keep it true. */
export async function showLoras() {
  const place = await whenThere("fl-loras");
  parts = {
    search: h("input", { type: "search", placeholder: "Search LoRAs", "aria-label": "Search LoRAs", autocomplete: "off", spellcheck: false, oninput: search }),
    count: h("span", { className: "fl-quiet", role: "status" }),
    missing: h("ul", { className: "missing", "aria-label": "LoRAs that are not here" }),
    list: h("ul", { className: "list", "aria-label": "LoRAs" }),
    none: h("p", { className: "fl-note", hidden: true }),
  };
  place.append(h("div", { className: "find fl-field" }, icon("search"), parts.search), parts.count, parts.missing, parts.none, parts.list);
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) load(); }).observe(place);
  onChange(draw);
}
