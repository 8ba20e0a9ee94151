// A small form for a style of one's own, where the list begins.

import { call } from "./api.js";
import { button, h } from "./dom.js";
import { inLabels } from "./labels.js";
import { showProblem } from "./notice.js";

const LABELS = { name: "Name", prompt: "Style prompt", negative_prompt: "Negative prompt" };
const NOTHING = { name: "", prompt: "", negative_prompt: "" };
let isChanged = () => false; // whether the form that is open holds something that nobody saved
let asked = 0;

const pathOf = (name) => `/v1/styles/${encodeURIComponent(name)}`;

function field(label, input) {
  return h("label", { className: "fl-field" }, h("span", { textContent: label }), input);
}

function makeFields(words) {
  return {
    name: h("input", { type: "text", value: words.name, maxLength: 60, autocomplete: "off", required: true }),
    prompt: h("textarea", { rows: 3, value: words.prompt, placeholder: "{prompt} in dense morning fog" }),
    negative_prompt: h("textarea", { rows: 2, value: words.negative_prompt, placeholder: "What it must not show" }),
  };
}

/** The one sentence that the program says, beside the field that it is about. */
function complain(form, fields, error) {
  for (const input of Object.values(fields)) input.removeAttribute("aria-invalid");
  fields[error.field]?.setAttribute("aria-invalid", "true");
  const { problem, hint } = inLabels(error, LABELS);
  form.querySelector(".fl-complaint").textContent = `${problem} ${hint}`.trim();
  fields[error.field]?.focus();
}

/**
 * Open it in `place`, for a new style or one of the menu's rows. A shipped one is not changed: yours takes its place.
 * `done(saved, old)` is told the names, null where there is none: `saved` is null after a deletion.
 */
export async function openStyleForm(place, style, done) {
  if (place.firstChild && isChanged()) { askFirst(place.firstChild); return; }
  const mine = ++asked;
  const before = document.activeElement;
  try {
    const words = style ? await call("GET", pathOf(style.name)) : NOTHING;
    if (mine === asked) showForm(place, style, words, before, done); // else another one was asked for meanwhile
  } catch (error) { showProblem(error.code === "not_found" ? { problem: error.problem, hint: "Reload the page to see those that are there." } : error); }
}

/** What was typed is not thrown away for another style. */
function askFirst(form) {
  form.querySelector(".fl-complaint").textContent = "Save or cancel this style first.";
  form.scrollIntoView({ block: "nearest" });
  form.querySelector("textarea").focus();
}

function showForm(place, style, words, before, done) {
  const isOwn = style?.source === "own";
  const fields = makeFields(words);
  const inputs = Object.values(fields);
  const began = inputs.map((input) => input.value);
  isChanged = () => inputs.some((input, at) => input.value !== began[at]);
  const close = () => { place.replaceChildren(); before?.focus?.(); };
  const actions = h("div", { className: "actions" });
  const form = h("form", { noValidate: true },
    h("h3", { textContent: style ? (isOwn ? "Edit your style" : `Make your own of ${style.name}`) : "New style" }),
    field(LABELS.name, fields.name),
    field(`${LABELS.prompt}: {prompt} is where your words go`, fields.prompt),
    field(LABELS.negative_prompt, fields.negative_prompt),
    style && !isOwn ? h("p", { className: "fl-note", textContent: "Under this name yours takes the place of the one that is there; deleting yours brings it back." }) : null,
    h("p", { className: "fl-complaint", role: "alert" }), actions);
  const attempt = async (action) => {
    try { await action(); } catch (error) { complain(form, fields, error); }
  };
  const save = () => attempt(async () => {
    const body = Object.fromEntries(Object.entries(fields).map(([name, input]) => [name, input.value]));
    const isNew = !style || (!isOwn && body.name.trim().toLowerCase() !== style.name.toLowerCase());
    const saved = isNew ? await call("POST", "/v1/styles", body) : await call("PUT", pathOf(style.name), body);
    place.replaceChildren();
    await done(saved.name, style?.name ?? null);
  });
  const remove = () => attempt(async () => {
    await call("DELETE", pathOf(style.name));
    place.replaceChildren();
    await done(null, style.name);
  });
  const offer = () => actions.replaceChildren(
    button("Save style", { kind: "small main", type: "submit" }),
    button("Cancel", { kind: "small bare", onclick: close }),
    ...(isOwn ? [button("Delete…", { icon: "trash", kind: "small bare", onclick: ask })] : []));
  const ask = () => {
    const keepIt = button("Keep it", { kind: "small", onclick: () => { offer(); fields.name.focus(); } });
    actions.replaceChildren(h("span", { textContent: "Delete it for good?" }), button("Delete", { kind: "small danger", onclick: remove }), keepIt);
    keepIt.focus();
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); save(); });
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } });
  offer();
  place.replaceChildren(form);
  form.scrollIntoView({ block: "nearest" });
  (style ? fields.prompt : fields.name).focus();
}
