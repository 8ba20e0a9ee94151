// The menu beside the preset: what it needs, save, make default, delete; and settings from elsewhere.

import { call } from "./api.js";
import { differences } from "./changes.js";
import { button, h, whenThere } from "./dom.js";
import { presetRow, refreshMenu, say, toRecipe } from "./form.js";
import { inLabels } from "./labels.js";
import { modelOf, valuesOfMode } from "./modes.js";
import { makePopover } from "./popover.js";
import { linkTo, missingOf } from "./presets.js";
import { pickPictures, readText } from "./reading.js";
import { state } from "./store.js";

/** What a preset should not bring along unless a person says so. */
const PERSONAL = ["prompt", "seed", "count", "image_format", "wildcard_order", "expansion"];
let panel = null;

const current = () => presetRow(state.draft?.preset);
const close = () => panel.hidePopover();

function show(...parts) {
  panel.replaceChildren(...parts.filter(Boolean));
}

function row(words, shape, onclick, rest = {}) {
  return button(words, { icon: shape, kind: "bare fl-row", onclick, ...rest });
}

function about(preset) {
  if (!preset) return null;
  const missing = missingOf(preset).map((need) => h("p", { className: "fl-missing" },
    `Needs ${need.file}, which is not here. `, linkTo(need.url, "Where to get it")));
  const notes = preset.warnings.length
    ? h("details", {}, h("summary", { textContent: "What differs here" }), h("ul", {}, ...preset.warnings.map((words) => h("li", { textContent: words }))))
    : null;
  return h("section", {}, h("h2", { textContent: preset.label }),
    preset.description ? h("p", { textContent: preset.description }) : null, ...missing, notes);
}

/** What changes the presets, which is everybody's where there are users. */
function changesOf(preset) {
  const isDefault = preset && preset.name === state.menu?.default_preset;
  return [
    row("Save as preset…", "save", showSave),
    preset ? row(isDefault ? "This is your default" : "Make this my default", "star", isDefault ? null : makeDefault, { "aria-disabled": isDefault ? "true" : null }) : null,
    preset?.source === "own" ? row("Delete this preset…", "trash", showDelete) : null,
  ];
}

function showActions() {
  const preset = current();
  show(
    about(preset),
    ...(state.user.is_admin ? changesOf(preset) : [h("p", { textContent: "Everybody here uses the same presets: an admin saves and deletes them." })]),
    h("hr"),
    row("Settings from a picture…", "folder", () => { close(); pickPictures(); }),
    row("Paste settings…", "reuse", showPaste),
  );
}

async function makeDefault() {
  await attempt(async () => {
    const { note } = await call("PUT", "/v1/default-preset", { preset: current().name });
    await refreshMenu();
    showActions();
    if (note) complain({ problem: note });
    panel.querySelector("[aria-disabled=true]")?.focus();
  });
}

/** Run it; what goes wrong is said in the panel, where one asked for it. */
async function attempt(action) {
  panel.querySelector(".fl-complaint")?.remove();
  try { await action(); } catch (error) { complain(error); }
}

function complain(error) {
  const { problem, hint } = inLabels(error, { label: "Name" });
  panel.append(h("p", { className: "fl-complaint", role: "alert", textContent: `${problem} ${hint}`.trim() }));
}

function showDelete() {
  const { name, label } = current();
  const remove = () => attempt(async () => {
    await call("DELETE", `/v1/presets/${encodeURIComponent(name)}`);
    await refreshMenu((menu) => ({ preset: menu.presets.some((one) => one.name === name) ? name : menu.default_preset }));
    say(`Deleted: ${label}`);
    close();
  });
  const keepIt = button("Keep it", { onclick: showActions });
  show(h("p", { textContent: `Delete the preset “${label}” for good? The fields stay as they are.` }),
    h("div", { className: "fl-choice" }, keepIt, button("Delete", { kind: "danger", onclick: remove })));
  keepIt.focus();
}

// Saving.

/** What a preset may hold: each thing that is not as the model has it, with a box to leave it out. */
function makeBoxes(model) {
  const usual = { ...model?.values, ...valuesOfMode(state.draft) }; // what the mode brings need not be said
  const plain = { negative_prompt: "", prompt: "", random_seed: true, count: 1, ...usual };
  const found = differences(plain, state.draft).filter(({ names }) => !["model", "index"].includes(names[0]));
  return found.map(({ names, label, to }) => {
    const box = h("input", { type: "checkbox", checked: !PERSONAL.includes(names[0]) });
    const line = h("label", { className: "fl-field fl-check" }, box, h("span", {}, `${label} `, h("b", { textContent: to || "none", title: to })));
    return { names, box, line };
  });
}

function keptRecipe(model, boxes) {
  const all = toRecipe(state.draft);
  const kept = model ? { model: model.name } : {};
  for (const { names, box } of boxes) {
    if (box.checked) for (const name of names) if (all[name] !== undefined) kept[name] = all[name];
  }
  return kept;
}

const sameName = (one, other) => one.trim().toLowerCase() === other.trim().toLowerCase();

function showSave() {
  const own = current()?.source === "own" ? current() : null;
  const model = modelOf(state.draft);
  const boxes = makeBoxes(model);
  const input = h("input", { type: "text", value: own?.label || "", maxLength: 100, autocomplete: "off", placeholder: "Such as: wide and calm" });
  const submit = button("Save", { kind: "main", type: "submit" });
  const taken = () => state.menu.presets.find((one) => one.source === "own" && sameName(one.label, input.value));
  const relabel = () => { submit.lastChild.textContent = taken() ? "Replace" : "Save"; };
  const save = (event) => {
    event.preventDefault();
    attempt(() => store(taken(), input.value, keptRecipe(model, boxes)));
  };
  input.addEventListener("input", relabel);
  show(h("form", { onsubmit: save },
    h("h2", { textContent: "Save as preset" }),
    h("label", { className: "fl-field" }, h("span", { textContent: "Name" }), input),
    h("p", { textContent: boxes.length ? `It keeps ${model ? `the model ${model.label} and ` : ""}these; what is unticked stays open.` : "All fields are as the model has them: the preset will bring just these back." }),
    h("div", { className: "fl-boxes" }, ...boxes.map(({ line }) => line)),
    h("div", { className: "fl-choice" }, button("Back", { onclick: showActions }), submit)));
  relabel();
  input.focus();
  input.select();
}

async function store(old, label, recipe) {
  const { description = "" } = old || {};
  const path = old ? `/v1/presets/${encodeURIComponent(old.name)}` : "/v1/presets";
  const saved = await call(old ? "PUT" : "POST", path, { label, description, recipe });
  await refreshMenu(() => ({ preset: saved.name }));
  say(`Saved: ${saved.label}`);
  close();
}

// Settings from elsewhere.

function showPaste() {
  const area = h("textarea", { rows: 6, spellcheck: false, "aria-label": "Settings to paste", placeholder: "The text under a picture on Civitai or in A1111, or JSON" });
  const use = (event) => {
    event.preventDefault();
    attempt(async () => { await readText(area.value); close(); });
  };
  show(h("form", { onsubmit: use },
    h("h2", { textContent: "Paste settings" }),
    h("div", { className: "fl-field" }, area),
    h("div", { className: "fl-choice" }, button("Back", { onclick: showActions }), button("Use them", { kind: "main", type: "submit" }))));
  area.focus();
}

/** Put the menu beside the preset. */
export async function showPresets() {
  const place = await whenThere("fl-presetmenu");
  const made = makePopover("fl-presetpop", "Preset actions", "dots", showActions);
  ({ panel } = made);
  place.append(made.opener, panel);
}
