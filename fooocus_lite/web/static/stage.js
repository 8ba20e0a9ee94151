// The hero: the picture as it forms, then the picture. Its box never jumps.

import { call, imageUrl } from "./api.js";
import { button, duration, h, icon, setText, whenThere } from "./dom.js";
import { fill } from "./form.js";
import { keep } from "./memory.js";
import { drawDetails } from "./details.js";
import { removePicture } from "./pictures.js";
import { showProblem } from "./notice.js";
import { change, onChange, running, shown, state } from "./store.js";
import { useSettings } from "./taking.js";

const IDEAS = ["a large yellow star left of a small blue circle", "a house by the sea at night", "a green heart, watercolor"];
const PADDING = 12;
const LARGEST = 1024; // pixels to which a smaller picture is enlarged, at most fourfold
let parts = null;

/** What is to be seen now: the picture a person chose, else the one being drawn, else the newest. */
function toShow() {
  const chosen = shown();
  const now = running();
  if (chosen) return { picture: chosen };
  if (now && state.preview?.id === now.id) return { preview: state.preview, row: now, forming: asForming(now) };
  return { picture: state.pictures[0] || null };
}

/** A queue row as far as it is a picture, so that the details stay where they are while one forms. */
function asForming({ id, words: prompt, styles, width, height, seed }) {
  return { id, isForming: true, recipe: { prompt, styles, width, height, seed } };
}

function build(stage) {
  const img = h("img", { alt: "", decoding: "async" });
  const frame = h("button", { className: "fl-picture", type: "button", hidden: true, onclick: zoom }, img);
  const empty = h("div", { id: "fl-empty", hidden: true });
  const arrows = [["left", "prev", "Newer picture", -1], ["right", "next", "Older picture", 1]].map(([shape, place, label, by]) =>
    button("", { icon: shape, kind: `icon fl-nav ${place}`, label, hidden: true, onclick: () => step(by) }));
  parts = {
    stage, img, frame, empty, arrows,
    view: h("div", { id: "fl-view" }, empty, frame, ...arrows),
    live: h("button", { id: "fl-tolive", type: "button", className: "fl-btn small", hidden: true, onclick: () => change({ selected: null }) },
      h("i"), h("span", { textContent: "Show what is being drawn" })),
    bar: h("i"),
    words: h("span", { className: "words" }),
    actions: h("span", { id: "fl-actions", hidden: true }),
    details: h("aside", { id: "fl-details", hidden: true, "aria-label": "This picture" }),
  };
  parts.view.append(parts.live);
  parts.progress = h("div", { id: "fl-progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0", "aria-valuemax": "100" }, parts.bar);
  fillActions();
  stage.setAttribute("role", "region");
  stage.setAttribute("aria-label", "Stage");
  stage.append(parts.view, h("div", { id: "fl-strip" }, parts.progress, parts.words, parts.actions), parts.details);
  new ResizeObserver(fit).observe(parts.view);
}

function fillActions() {
  const act = (run) => () => { const { picture } = toShow(); if (picture) run(picture); };
  parts.toggle = button("Details", { icon: "info", kind: "small bare", onclick: toggleDetails });
  parts.actions.append(
    parts.toggle,
    button("Use these settings", { icon: "reuse", kind: "small bare", onclick: act(useSettings) }),
    button("Download", { icon: "save", kind: "small bare", onclick: act(download) }),
    button("Open folder", { icon: "folder", kind: "small bare fl-wide-only fl-admin-only", onclick: act(openFolder) }),
    button("Delete", { icon: "trash", kind: "small bare", onclick: act(removePicture) }),
  );
}

function toggleDetails() {
  const details = !state.details;
  keep("fl.details", details ? "1" : "0");
  change({ details });
}

function download(picture) {
  h("a", { href: `${imageUrl(picture.id)}?download=true`, download: picture.file.split("/").at(-1) }).click();
}

function openFolder(picture) {
  call("POST", `/v1/pictures/${picture.id}/open-folder`).catch((error) => {
    const [, path] = error.hint.match(/^The picture is in (.+)\.$/) || [];
    showProblem(error, path ? { action: { words: "Copy the path", copies: path } } : {});
  });
}

/** The whole window for the picture, and back. */
export function zoom() {
  const on = parts.stage.toggleAttribute("data-zoom");
  parts.frame.setAttribute("aria-label", on ? "Back to the page" : "Enlarge the picture");
  fit();
}

export const isZoomed = () => Boolean(parts?.stage.hasAttribute("data-zoom"));

/** The picture before or after the one that is shown. */
export function step(by) {
  const { picture } = toShow();
  const at = state.pictures.findIndex((one) => one.id === picture?.id);
  const next = state.pictures[at + by];
  if (next) change({ selected: next.id });
}

function fit() {
  const { width, height } = parts.frame.dataset;
  if (!width) return;
  const style = getComputedStyle(parts.view);
  const across = parts.view.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const down = parts.view.clientHeight - 2 * PADDING;
  const largest = isZoomed() ? Infinity : Math.min(4, Math.max(1, LARGEST / Math.max(width, height)));
  const scale = Math.max(0.05, Math.min(across / width, down / height, largest));
  parts.img.style.width = `${Math.round(width * scale)}px`;
  parts.img.style.height = `${Math.round(height * scale)}px`;
}

function showImage(source, width, height, recipe, words) {
  const { frame, img } = parts;
  frame.hidden = false;
  if (Number(frame.dataset.width) !== width || Number(frame.dataset.height) !== height) {
    Object.assign(frame.dataset, { width, height });
    fit();
  }
  const grain = (recipe.styles || []).some((name) => /pixel/i.test(name)) ? "pixel" : "smooth";
  if (img.dataset.grain !== grain) img.dataset.grain = grain;
  if (img.getAttribute("src") !== source) img.src = source;
  if (img.alt !== words) img.alt = words;
  if (!frame.hasAttribute("aria-label")) frame.setAttribute("aria-label", "Enlarge the picture");
}

function showEmpty() {
  parts.frame.hidden = true;
  parts.empty.hidden = !state.picturesKnown;
  if (parts.empty.childElementCount || !state.picturesKnown) return;
  const ideas = IDEAS.map((words) => button(words, { onclick: () => fill({ prompt: words }) }));
  parts.empty.append(
    icon("star"),
    h("h2", { textContent: "Your picture appears here" }),
    h("p", { textContent: "Press Generate: the words below are ready. Or begin with one of these." }),
    h("p", { className: "fl-wide-only", textContent: "A picture dropped here brings its settings along." }),
    h("div", { id: "fl-ideas" }, ...ideas),
  );
}

/** "step 14/30 · 6 s left · 2 of 4" */
export function progressWords(row) {
  const at = state.progress.get(row.id);
  const words = [];
  if (row.cancelling) words.push("stopping");
  else if (!at?.steps) words.push("getting ready");
  else words.push(`step ${at.step}/${at.steps}`);
  if (at?.seconds_left !== null && at?.seconds_left !== undefined && !row.cancelling) words.push(`${duration(at.seconds_left)} left`);
  if (row.of > 1) words.push(`${row.index} of ${row.of}`);
  return words.join(" · ");
}

function drawStrip(now, picture) {
  const at = now && state.progress.get(now.id);
  parts.progress.toggleAttribute("data-on", Boolean(now));
  const share = at?.steps ? at.step / at.steps : 0;
  parts.bar.style.transform = `scaleX(${share})`;
  parts.progress.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  let words = "";
  if (now) words = progressWords(now);
  else if (picture) {
    words = `${picture.width}×${picture.height}${picture.seconds ? ` · ${picture.seconds.toFixed(1)} s` : ""} · seed ${picture.recipe.seed}`;
  }
  setText(parts.words, words);
  parts.words.title = picture && !now ? picture.recipe.prompt : "";
}

function draw() {
  const { picture, preview, row, forming } = toShow();
  const now = running();
  if (preview) showImage(preview.url, row.width, row.height, row, `Forming: ${row.words}`);
  else if (picture) showImage(imageUrl(picture.id), picture.width, picture.height, picture.recipe, picture.recipe.prompt);
  else showEmpty();
  if (preview || picture) parts.empty.hidden = true;
  parts.actions.hidden = !picture;
  for (const arrow of parts.arrows) arrow.hidden = state.pictures.length < 2;
  parts.live.hidden = !(now && shown()) || Boolean(state.sheet); // then one goes back to the sheet
  parts.stage.dataset.state = now ? "drawing" : "still";
  parts.toggle.setAttribute("aria-pressed", String(state.details));
  drawStrip(now, picture);
  const open = state.details && Boolean(picture || forming);
  if (parts.details.hidden === open) {
    parts.details.hidden = !open;
    parts.stage.toggleAttribute("data-details", open);
    fit();
  }
  if (open) drawDetails(parts.details, picture || forming, toggleDetails);
}

/** Fill the stage and keep it true. */
export async function showStage() {
  build(await whenThere("fl-stage"));
  onChange(draw);
}
