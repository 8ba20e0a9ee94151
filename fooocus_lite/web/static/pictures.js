// The pictures so far, newest first: small files, loaded when they come into view.

import { call, thumbUrl } from "./api.js";
import { button, h, setText, whenThere } from "./dom.js";
import { loadPictures } from "./live.js";
import { showProblem, showUndo } from "./notice.js";
import { change, doomed, onChange, state } from "./store.js";
import { setSheet } from "./theme.js";

const UNDO_S = 8;
const nodes = new Map(); // id -> button
const root = document.documentElement;
let grid, none, more, count, end, drawnFor = null;

function choose(picture) {
  change({ selected: picture.id });
  setGallery(false);
  if (innerWidth < 720) { setSheet(""); document.getElementById("fl-stage").scrollIntoView(); }
}

function makeThumb(picture) {
  const words = picture.recipe.prompt || "no words";
  return h("button", { type: "button", title: words, onclick: () => choose(picture) },
    h("img", { src: thumbUrl(picture.id), alt: words.slice(0, 120), loading: "lazy", decoding: "async", width: 68, height: 68 }));
}

const dayOf = (picture) => new Date(picture.finished_at * 1000).toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });

function drawGrid() {
  const there = new Set(state.pictures.map((one) => one.id));
  for (const [id, node] of nodes) if (!there.has(id)) { node.remove(); nodes.delete(id); }
  for (const head of grid.querySelectorAll("h3")) head.remove();
  let before = null;
  let day = "";
  const place = (node) => {
    const wanted = before ? before.nextSibling : grid.firstChild;
    if (node !== wanted) grid.insertBefore(node, wanted);
    before = node;
  };
  for (const picture of state.pictures) {
    if (dayOf(picture) !== day) {
      day = dayOf(picture);
      place(h("h3", { textContent: day }));
    }
    if (!nodes.has(picture.id)) nodes.set(picture.id, makeThumb(picture));
    place(nodes.get(picture.id));
  }
}

function draw() {
  if (drawnFor !== state.pictures) {
    drawnFor = state.pictures;
    drawGrid();
    none.hidden = state.pictures.length > 0 || !state.picturesKnown;
    setText(count, state.pictures.length ? ` (${state.pictures.length}${state.nextPictures ? "+" : ""})` : "");
    end.unobserve(more); // an observer tells of changes only, and the end may still be in sight
    end.observe(more);
  }
  for (const [id, node] of nodes) {
    const current = String(id === state.selected);
    if (node.getAttribute("aria-current") !== current) node.setAttribute("aria-current", current);
  }
}

/** Take a picture away; the file is deleted when nobody wanted it back. */
export function removePicture(picture) {
  const at = state.pictures.indexOf(picture);
  const rest = state.pictures.filter((one) => one.id !== picture.id);
  change({ pictures: rest, selected: state.selected === picture.id ? rest[Math.min(at, rest.length - 1)]?.id ?? null : state.selected });
  const timer = setTimeout(() => {
    doomed.delete(picture.id);
    call("DELETE", `/v1/pictures/${picture.id}`).catch((error) => showProblem(error));
  }, UNDO_S * 1000);
  doomed.add(picture.id);
  showUndo("The picture was deleted.", () => {
    clearTimeout(timer);
    doomed.delete(picture.id);
    const all = [...state.pictures, picture].sort((a, b) => b.finished_at - a.finished_at);
    change({ pictures: all, selected: picture.id });
  }, UNDO_S);
}

window.addEventListener("pagehide", () => {
  for (const id of doomed) fetch(`/v1/pictures/${id}`, { method: "DELETE", keepalive: true });
});

/** The pictures over the whole left side, or a strip of them. */
export function setGallery(open) {
  root.dataset.gallery = open ? "open" : "";
  const toggle = document.getElementById("fl-toggle-gallery");
  toggle?.setAttribute("aria-expanded", String(open));
  if (toggle) setText(toggle.lastChild, open ? "Back to the picture" : "Show all");
}

export const isGalleryOpen = () => root.dataset.gallery === "open";

/** Fill the pictures' place on the shelf and keep it true. */
export async function showPictures() {
  const shelf = await whenThere("fl-shelf");
  count = h("small");
  none = h("p", { className: "fl-none", hidden: true, textContent: "None yet. Finished pictures come here, newest first." });
  more = h("div", { id: "fl-more" });
  grid = h("div", { id: "fl-grid" });
  const all = button("Show all", { icon: "grid", kind: "small bare fl-wide-only", id: "fl-toggle-gallery", "aria-expanded": "false", onclick: () => setGallery(!isGalleryOpen()) });
  const scroll = h("div", { className: "fl-scroll" }, none, grid, more);
  shelf.append(h("section", { id: "fl-pictures", "aria-label": "Gallery" },
    h("header", {}, h("h2", {}, "Pictures", count), all), scroll));
  end = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) loadPictures(); }, { root: scroll, rootMargin: "400px" });
  onChange(draw);
}
