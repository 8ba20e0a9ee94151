// The Models tab: what is here, what can be downloaded, and how far it has come. And what is fetched because it was chosen.

import { call } from "./api.js";
import { differences, formerValues, showChanged } from "./changes.js";
import { button, h, setText, size, whenThere } from "./dom.js";
import { fill, refreshMenu } from "./form.js";
import { onEnd } from "./live.js";
import { keep, recall } from "./memory.js";
import { modelOf, takeModel } from "./modes.js";
import { clear, showNote, showProblem } from "./notice.js";
import { YOURS, linkTo } from "./presets.js";
import { onChange, state } from "./store.js";

const TOLD = "fl.fetch-told"; // names whose licence and size were shown
const BUSY = ["waiting", "running", "checking"];
const ASK_FROM = 10e9; // so many bytes are not fetched before somebody has said so…
const ASK_BELOW = 0.1; // …nor any that leave less of the disk than this share
const STAYS = [...YOURS, "styles", "loras", "mode", "refiner", "refiner_switch"]; // whatever model is picked
let parts = null;
let rows = []; // {model, item, pick, note, bar, words, actions}
let about = { free_bytes: null, disk_bytes: null, folder: "", offline: false };
let drawn = "";
let asked = 0; // how often the list was asked for
let seen = null; // state of each download when it was last told
let chosen = null; // what the last estimate was for
let questioned = []; // names of what the last question was about
let failure = ""; // what the last picture that failed said

const downloadOf = (name) => state.downloads.find((one) => one.name === name);
const share = ({ done_bytes: done, total_bytes: total }) => (total ? Math.min(1, done / total) : 0);
const told = () => {
  try { return new Set(JSON.parse(recall(TOLD))); } catch { return new Set(); }
};

/** Ask the program; what goes wrong is said. */
function ask(path, body) {
  return call("POST", path, body).catch((error) => { showProblem(error, { key: "download" }); });
}

const act = (name, what) => ask(`/v1/downloads/${encodeURIComponent(name)}/${what}`);

/** Fetch them, and say once what comes and under which licence. */
function fetchModels(...models) {
  clear("download");
  clear("fetch-ask");
  tell(models);
  for (const model of models) ask("/v1/downloads", { name: model.name });
}

const totalOf = (models) => models.reduce((sum, model) => sum + (model.size_bytes ?? 0), 0);
/** What is on its way already, in bytes that are yet to come. */
const comingBytes = () => state.downloads.filter((one) => BUSY.includes(one.state)).reduce((sum, one) => sum + (one.total_bytes ?? 0) - one.done_bytes, 0);

/** So much that a person should say yes: large, of unknown size, or nearly all that the disk has left. */
function isMuch(models) {
  const bytes = comingBytes() + totalOf(models);
  if (bytes >= ASK_FROM || models.some((model) => model.kind === "checkpoint" && !model.size_bytes)) return true;
  return about.free_bytes !== null && about.free_bytes - bytes < ASK_BELOW * about.disk_bytes;
}

/** Ask before a large download, with one button that begins it. */
function askFirst(models) {
  questioned = models.map((model) => model.name);
  const bytes = models.every((model) => model.size_bytes) ? totalOf(models) : 0;
  const names = models.map((model) => model.label).join(" and ");
  const others = comingBytes();
  const free = about.free_bytes === null ? "" : `${size(about.free_bytes)} are free on the disk${others ? `, and ${size(others)} are being downloaded already` : ""}. `;
  const hasRoom = about.free_bytes === null || bytes + others <= about.free_bytes;
  const go = bytes ? `Download ${size(bytes)}` : "Download";
  showNote(`${names} ${models.length > 1 ? "are" : "is"} not on this computer yet.`, {
    key: "fetch-ask", shape: "save", extra: models.map((model) => facts(model, models.length > 1 ? model.label : "")),
    lines: [
      bytes ? "" : models.map((model) => model.description).join(" "),
      hasRoom ? `${free}Nothing is downloaded before you press ${go} or Generate.` : `${free}It does not fit: make room first, or choose a smaller one.`,
    ].filter(Boolean),
    action: hasRoom ? { words: go, run: () => fetchModels(...models) } : null,
  });
}

/** Another kind of model, or one of another size, brings its own values along: those of the former would be refused or ugly. */
function use(model) {
  const before = state.draft;
  const [former, row] = [modelOf(before), state.menu?.models.find((one) => one.name === model.name)];
  const isAlike = former?.family === row?.family && [before.width, before.height].every((side) => side >= row.min_size && side <= row.max_size);
  const own = row && !isAlike ? Object.fromEntries(Object.entries(row.values).filter(([name]) => !STAYS.includes(name))) : {};
  const after = takeModel({ ...before, ...own, model: model.name });
  const found = differences(before, after);
  fill(after);
  if (Object.keys(own).length) showChanged(found, () => fill(formerValues(before, found)));
}

/** "6.9 GB · Fits your graphics card: takes 9.0 of 11.2 GB · Licence: …", the licence as a link; `words` stands before it. */
function facts(model, words) {
  const licence = model.licence ? linkTo(model.licence_url, model.licence) || h("span", { textContent: model.licence }) : null;
  const text = [words, model.verdict, licence ? "Licence: " : ""].filter(Boolean).join(" · ");
  return h("p", { className: "facts" }, h("span", { textContent: text }), licence);
}

/** What is told once of files that were asked for: licence, size, room on the disk. */
function tell(models) {
  const known = told();
  const news = models.filter((model) => !known.has(model.name));
  if (!news.length) return;
  keep(TOLD, JSON.stringify([...known, ...news.map((model) => model.name)]));
  const names = news.map((model) => model.label).join(" and ");
  const total = news.every((model) => model.size_bytes) ? `: ${size(news.reduce((sum, model) => sum + model.size_bytes, 0))}` : "";
  const gated = news.filter((model) => model.is_gated).map((model) => `The makers of ${model.label} ask who has it: accept its licence on its page, and give your token as HF_TOKEN.`);
  const free = about.free_bytes ? `${size(about.free_bytes)} are free on the disk. ` : "";
  const stop = () => { clear("fetch"); for (const model of news) { forgetTold(model.name); act(model.name, "cancel"); } };
  showNote(`${names} ${news.length > 1 ? "are" : "is"} being downloaded${total}.`, {
    key: "fetch", shape: "save", extra: news.map((model) => facts(model, news.length > 1 ? model.label : "")),
    lines: [...gated, `${free}You can press Generate now: the picture waits in the queue and is drawn as soon as ${news.length > 1 ? "they are" : "it is"} here. Other models draw meanwhile.`],
    action: state.user.is_admin ? { words: "Cancel the download", run: stop } : null,
  });
}

function forgetTold(name) {
  const rest = told();
  rest.delete(name);
  keep(TOLD, JSON.stringify([...rest]));
}

function makeRow(model) {
  const row = { model };
  const name = h("span", { className: "name" }, h("b", { textContent: model.label }), model.description ? h("small", { textContent: model.description }) : null);
  row.pick = model.kind === "checkpoint"
    ? h("button", { type: "button", className: "pick", "aria-pressed": "false", onclick: () => use(model) }, h("i", { "aria-hidden": "true" }), name)
    : h("div", { className: "pick" }, name);
  row.bar = h("i");
  row.track = h("div", { className: "track", role: "progressbar", "aria-label": `Download of ${model.label}`, "aria-valuemin": "0", "aria-valuemax": "100" }, row.bar);
  row.words = h("p", { className: "words" });
  row.hint = h("p", { className: "hint" });
  row.actions = h("div", { className: "actions" });
  row.item = h("li", {}, row.pick, facts(model, model.size_bytes ? size(model.size_bytes) : ""), row.track, row.words, row.hint, row.actions);
  return row;
}

/** The buttons that make sense now, by what the download is at. */
function actionsOf(model, download) {
  const one = (words, shape, run) => button(words, { icon: shape, kind: "small", label: `${words}: ${model.label}`, onclick: run });
  if (!state.user.is_admin || (!model.can_be_fetched && !download)) return [];
  if (BUSY.includes(download?.state)) return [one("Pause", "pause", () => act(model.name, "pause")), one("Cancel", "close", () => cancel(model))];
  if (download?.state === "paused") return [one("Resume", "save", () => act(model.name, "resume")), one("Cancel", "close", () => cancel(model))];
  if (download?.state === "failed") return [one("Retry", "reuse", () => fetchModels(model)), one("Cancel", "close", () => cancel(model))];
  return model.available ? [] : [one("Download", "save", () => fetchModels(model))];
}

function cancel(model) {
  clear("fetch");
  forgetTold(model.name);
  act(model.name, "cancel");
}

function drawRow(row) {
  const { model } = row;
  const download = downloadOf(model.name);
  const isShown = Boolean(download) && download.state !== "finished";
  row.item.dataset.state = isShown ? download.state : model.available ? "here" : "away";
  row.track.hidden = !isShown || download.state === "failed";
  if (isShown) {
    row.bar.style.transform = `scaleX(${share(download)})`;
    row.track.setAttribute("aria-valuenow", String(Math.round(share(download) * 100)));
    row.track.setAttribute("aria-valuetext", download.words);
  }
  const speed = download?.bytes_per_s ? ` · ${size(download.bytes_per_s)} a second` : "";
  setText(row.words, isShown ? `${download.words}${speed}` : "");
  setText(row.hint, isShown ? download.hint : ""); // the words say the problem
  const key = `${download?.state}${model.available}${state.user.is_admin}`;
  if (row.key !== key) { // else the focus would go with the button that has it
    const had = row.actions.contains(document.activeElement);
    row.key = key;
    row.actions.replaceChildren(...actionsOf(model, download));
    if (had) row.actions.querySelector("button")?.focus();
  }
  if (row.pick.tagName === "BUTTON") row.pick.setAttribute("aria-pressed", String(modelOf(state.draft || {})?.name === model.name));
}

function drawTab() {
  if (!parts) return;
  const key = JSON.stringify([state.downloads, modelOf(state.draft || {})?.name, state.user.is_admin]);
  if (drawn === key) return;
  drawn = key;
  const coming = rows.filter(isComing).map((row) => row.model.name).join();
  if (parts.coming !== coming) {
    parts.coming = coming;
    arrange();
  }
  rows.forEach(drawRow);
}

const isComing = ({ model }) => Boolean(downloadOf(model.name)) && downloadOf(model.name).state !== "finished";

function group(words, list, ...notes) {
  return list.length ? h("section", {}, h("h3", { textContent: words }), ...notes, h("ul", { "aria-label": words }, ...list.map((row) => row.item))) : null;
}

/** The rows by where they are; what is coming stands first. Whoever has the focus in one keeps it. */
function arrange() {
  const models = rows.filter((row) => row.model.kind === "checkpoint" && !isComing(row));
  const rest = rows.filter((row) => row.model.kind !== "checkpoint" && !isComing(row));
  const note = (words, who = "") => h("p", { className: `fl-note ${who}`.trim(), textContent: words });
  const notes = about.offline ? [note("Offline mode is on: nothing is downloaded.")] : [
    note("Pick one to draw with it: it is downloaded in the background (a large one asks first), and its pictures wait in the queue until then.", "fl-admin-only"),
    note("Pick one and press Generate: it is downloaded in the background, and its pictures wait in the queue until then.", "fl-guest-only")];
  const focused = document.activeElement;
  const isOpen = Boolean(parts.list.querySelector("details[open]"));
  parts.list.replaceChildren(...[
    group("Downloads", rows.filter(isComing)),
    group("On this computer", models.filter((row) => row.model.available)),
    group("Not downloaded yet", models.filter((row) => !row.model.available), ...notes),
    rest.length ? h("details", { open: isOpen }, h("summary", { textContent: `LoRAs and parts (${rest.length})` }), group("LoRAs and parts", rest)) : null,
  ].filter(Boolean));
  if (focused?.isConnected && focused !== document.activeElement) focused.focus();
}

/** What is here and what can be downloaded: asked whenever the tab is opened, and when something has come. */
async function load() {
  const mine = ++asked;
  const answer = await call("GET", "/v1/models").catch((error) => { showProblem(error, { key: "download" }); return null; });
  if (!answer || mine !== asked) return; // an older answer may come later, and would bring back what was
  about = answer;
  if (!parts) return;
  const key = JSON.stringify(answer.models.map(({ download, ...rest }) => rest));
  if (parts.key !== key) {
    parts.key = key;
    rows = answer.models.map(makeRow);
    drawn = "";
    parts.coming = null;
  }
  setText(parts.disk, answer.free_bytes === null || !state.user.is_admin ? "" : `${size(answer.free_bytes)} free in ${answer.folder}. A model file that you put there appears by itself.`);
  drawTab();
}

/** Whoever chooses a preset, model or mode that lacks files wants them: they are on their way from here on. */
function followChoice() {
  const plan = state.estimate;
  if (!plan) return;
  const key = JSON.stringify([plan.recipe.preset, plan.recipe.model, plan.recipe.mode, plan.recipe.refiner]);
  const isChoice = chosen !== null && chosen !== key;
  chosen = key;
  if (!isChoice || !state.user.is_admin) return; // of others Generate alone fetches
  clear("fetch-ask"); // it was about the former choice
  const wanted = plan.fetches.filter((model) => !downloadOf(model.name) && model.can_be_fetched);
  if (wanted.length && isMuch(wanted)) askFirst(wanted);
  else if (wanted.length) fetchModels(...wanted);
}

/** A task that waits says so in the queue; what it waits for is told here, once. */
function followQueue() {
  const names = new Set(state.rows.map((row) => row.waits_for).filter(Boolean));
  if (!names.size || !about.models) return;
  if (questioned.some((name) => names.has(name))) clear("fetch-ask"); // Generate has said yes
  tell(about.models.filter((model) => names.has(model.name)));
}

/** What has come can be chosen; what failed is said, unless a picture that waits for it says the same. */
function followDownloads() {
  if (!state.connected) return; // what failed before this page came is told in the top line
  const now = new Map(state.downloads.map((one) => [one.name, one.state]));
  const before = seen;
  seen = now;
  if (!before || !state.menu) return;
  const changed = state.downloads.filter((one) => before.get(one.name) !== one.state);
  if (changed.some((one) => one.state === "finished") || [...before.keys()].some((name) => !now.has(name))) {
    clear("fetch");
    load();
    refreshMenu().catch(() => {}); // the stream tells whether the program is away
  }
  if (changed.some(({ state: at }) => at === "paused")) clear("fetch"); // it says that they come
  for (const one of changed.filter(({ state: at }) => at === "failed")) {
    clear("fetch");
    if (failure.endsWith(one.problem) || state.rows.some((row) => row.waits_for === one.name)) continue;
    const again = () => { clear("download"); ask("/v1/downloads", { name: one.name }); };
    showProblem({ ...one, problem: `${one.label} could not be downloaded.`, hint: `${one.problem} ${one.hint}`.trim() }, { key: "download", action: state.user.is_admin ? { words: "Retry", run: again } : null });
  }
}

/** A picture that waited says what its download says: once is enough. */
function followFailures({ error, state: ended }) {
  if (ended !== "failed") return;
  failure = error.problem;
  if (state.downloads.some((one) => one.problem && failure.endsWith(one.problem))) clear("download");
}

/** Fill the Models tab, and follow what is fetched. */
export async function showModels() {
  load();
  onEnd(followFailures);
  onChange(() => { followDownloads(); followChoice(); followQueue(); });
  const place = await whenThere("fl-models");
  parts = { disk: h("p", { className: "fl-note" }), list: h("div", { className: "groups" }) };
  place.append(parts.disk, parts.list);
  new IntersectionObserver((all) => { if (all.some((one) => one.isIntersecting)) load(); }).observe(place);
  load();
  onChange(drawTab);
}

/** "waits for SDXL base: 2.1 of 6.9 GB, 4 min left" */
export function waitingWords(name) {
  const download = downloadOf(name);
  return download ? `waits for ${download.label}: ${download.words}` : "waits for its model";
}
