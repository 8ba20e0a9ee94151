// The Styles tab: search, what is chosen on top, favourites, a picture of each. The same choice as the dropdown.

import { call } from "./api.js";
import { button, h, icon, setText, whenThere } from "./dom.js";
import { fill, refreshMenu } from "./form.js";
import { makeEveryStyle } from "./everystyle.js";
import { showProblem } from "./notice.js";
import { rove } from "./roving.js";
import { change, onChange, state } from "./store.js";
import { openStyleForm } from "./styleform.js";
import { hueOf, loadLooks, makeLook, showLook } from "./tiles.js";

const OWN = "Your own";
const FAVOURITES = "Favourites";
const isText = (style) => style.kind === "text";
let parts = null;
let tiles = []; // {item, pick, star, look, name, words}; a favourite has two
let switches = []; // styles that are no look of their own, such as the one that stands for any: {name, pick}
let chips = []; // {look, name} of those that are chosen
let wish = null; // the choice as clicked, until the form has it
let drawn = {}; // what was drawn last: the tab redraws only what differs

const sameList = (one, other) => one?.length === other?.length && one.every((name, at) => name === other[at]);

/** What is chosen, a click that the form has not taken in yet included. */
const chosenNow = () => wish || state.draft?.styles || [];

function choose(names) {
  wish = names;
  fill({ styles: names });
  drawChosen();
  clearTimeout(choose.timer);
  choose.timer = setTimeout(() => { wish = null; change({}); }, 2000);
}

function toggle(name) {
  const chosen = chosenNow();
  choose(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
}

let saving = Promise.resolve();
let unsaved = 0;

window.addEventListener("pagehide", () => { // a reload right after the click must not lose it
  if (!unsaved) return;
  const body = JSON.stringify({ styles: state.menu.favourites });
  fetch("/v1/favourites", { method: "PUT", keepalive: true, headers: { "Content-Type": "application/json" }, body });
});

/** One after the other, and each on top of what is there now: another tab may have changed the list. */
function star(name, isDear) {
  const mark = (menu) => ({ ...menu, favourites: isDear ? [name, ...menu.favourites.filter((one) => one !== name)] : menu.favourites.filter((one) => one !== name) });
  const before = state.menu;
  change({ menu: mark(state.menu) });
  unsaved += 1;
  saving = saving.then(async () => {
    try {
      const menu = mark(await call("GET", "/v1/menu"));
      await call("PUT", "/v1/favourites", { styles: menu.favourites });
      if (unsaved === 1) change({ menu }); // a later click is not undone for a moment
    } catch (error) {
      change({ menu: before });
      showProblem(error);
    } finally {
      unsaved -= 1;
    }
  });
}

function makeTile(style, section) {
  const look = makeLook(style.name, hueOf(style.category));
  const pick = h("button", { type: "button", className: "pick", title: style.name, tabIndex: -1, "aria-pressed": "false", onclick: () => toggle(style.name) },
    look, h("span", { className: "name", textContent: style.name }));
  const item = h("li", { className: "fl-tile" }, pick);
  const words = style.source === "own" ? "Edit" : "Make your own of it";
  const tile = {
    item, pick, look, name: style.name, words: `${style.name} ${style.category} ${section.title}`.toLowerCase(),
    star: h("button", { type: "button", className: "star fl-admin-only", tabIndex: -1, "aria-label": `Favourite: ${style.name}`, title: "Favourite", onclick: () => star(style.name, tile.star.getAttribute("aria-pressed") !== "true") }, icon("star")),
  };
  item.append(tile.star, h("button", { type: "button", className: "edit fl-admin-only", tabIndex: -1, "aria-label": `${words}: ${style.name}`, title: words, onclick: () => edit(style) }, icon("pencil")));
  item.dataset.source = style.source;
  return tile;
}

function edit(style) {
  openStyleForm(parts.form, style, afterEdit);
}

/** The form is done: with the new name of the style that was saved, or null. */
async function afterEdit(saved, old) {
  const chosen = (styles) => styles.map((name) => (saved && name === old ? saved : name));
  await refreshMenu((menu) => {
    const there = new Set(menu.styles.map((style) => style.name));
    return { styles: chosen(state.draft?.styles || []).filter((name) => there.has(name)) };
  });
  await loadLooks();
  const tile = tiles.find((one) => one.name === saved);
  if (!tile) { parts.search.focus(); return; }
  tile.pick.focus();
  tile.item.scrollIntoView({ block: "nearest" });
}

function makeSection(title, styles, isFolded = false) {
  const section = { title, isFolded, count: h("small"), list: h("ul", { "aria-label": title }), tiles: [] };
  section.node = h("section", { className: "fl-group" }, h("h3", {}, h("span", { textContent: title }), section.count), section.list);
  section.tiles = styles.map((style) => makeTile(style, section));
  section.list.append(...section.tiles.map((tile) => tile.item));
  return section;
}

/** A person's own, what the model learned; the rest folded away. */
function groupsOf({ styles, models, defaults }) {
  const learned = models.find((model) => model.name === defaults.model)?.style_categories || [];
  const groups = new Map();
  for (const style of styles.filter(isText)) {
    const title = style.source === "own" ? OWN : style.category;
    groups.set(title, [...(groups.get(title) || []), style]);
  }
  const isFolded = (title) => learned.length > 0 && !learned.includes(title) && title !== OWN;
  const all = [...groups].map(([title, some]) => makeSection(title, some, isFolded(title)));
  return all.sort((one, other) => (other.title === OWN) - (one.title === OWN));
}

function drawGroups() {
  const groups = groupsOf(state.menu);
  const folded = groups.filter((one) => one.isFolded);
  parts.groups = groups;
  switches = state.menu.styles.filter((style) => !isText(style)).map(({ name, kind }) => ({
    name, pick: button(name, { icon: kind === "random" ? "dice" : "plus", kind: "small", "aria-pressed": "false", onclick: () => toggle(name) }),
  }));
  parts.switches.replaceChildren(...switches.map((one) => one.pick));
  parts.list.replaceChildren(...groups.filter((one) => !one.isFolded).map((one) => one.node));
  parts.more.replaceChildren(parts.summary, ...folded.map((one) => one.node));
  setText(parts.summary, `${folded.reduce((sum, one) => sum + one.tiles.length, 0)} more styles, for larger models`);
}

/** Their place is above the others, and what a person looks at stays where it is. */
function drawFavourites() {
  const by = new Map(state.menu.styles.map((style) => [style.name, style]));
  const dear = state.menu.favourites.map((name) => by.get(name)).filter(Boolean);
  const held = document.activeElement?.closest?.(".fl-tile");
  const top = held?.getBoundingClientRect().top;
  parts.favourites = dear.length ? [makeSection(FAVOURITES, dear)] : [];
  parts.dear.replaceChildren(...parts.favourites.map((one) => one.node));
  if (held?.isConnected) document.getElementById("fl-advanced").scrollTop += held.getBoundingClientRect().top - top;
  else if (held) parts.search.focus({ preventScroll: true });
}

/** Tiles anew where the menu says so; equal keys mean that the same ones stand in the same places. */
function drawTiles() {
  const styles = JSON.stringify(state.menu.styles.map(({ name, category, source }) => [name, category, source]));
  const favourites = JSON.stringify(state.menu.favourites);
  if (styles === drawn.styles && favourites === drawn.favourites) return;
  if (styles !== drawn.styles) drawGroups();
  drawFavourites();
  drawn = { ...drawn, styles, favourites };
  tiles = [...parts.favourites, ...parts.groups].flatMap((section) => section.tiles);
  const dear = new Set(state.menu.favourites);
  for (const tile of tiles) {
    tile.star.setAttribute("aria-pressed", String(dear.has(tile.name)));
    showLook(tile.look, tile.name);
  }
  search();
}

function search() {
  const wanted = parts.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  const sections = [...parts.favourites, ...parts.groups];
  for (const section of sections) {
    let here = 0;
    for (const tile of section.tiles) {
      const fits = wanted.every((word) => tile.words.includes(word));
      if (tile.item.hidden === fits) tile.item.hidden = !fits;
      if (fits) here += 1;
    }
    section.node.hidden = here === 0;
    setText(section.count, String(here));
    if (section.title !== FAVOURITES) found += here;
  }
  const isFolded = sections.some((one) => one.isFolded && !one.node.hidden);
  parts.more.hidden = !isFolded;
  if (wanted.length && !parts.more.open) { parts.more.open = true; parts.openedBySearch = true; }
  else if (!wanted.length && parts.openedBySearch) { parts.more.open = false; parts.openedBySearch = false; }
  parts.none.hidden = found > 0;
  parts.offers.hidden = wanted.length > 0; // what was searched for stands right below
  setText(parts.found, wanted.length ? `${found} ${found === 1 ? "style" : "styles"}` : "");
  parts.settle();
}

function drawChosen() {
  const chosen = chosenNow();
  if (sameList(drawn.chosen, chosen) && drawn.tiles === tiles) return;
  drawn = { ...drawn, chosen: [...chosen], tiles };
  const set = new Set(chosen);
  for (const { pick, name } of [...switches, ...tiles]) {
    const pressed = String(set.has(name));
    if (pick.getAttribute("aria-pressed") !== pressed) pick.setAttribute("aria-pressed", pressed);
  }
  const category = new Map((state.menu?.styles || []).map((style) => [style.name, style.category]));
  chips = chosen.map((name) => ({ name, look: makeLook(name, hueOf(category.get(name))) }));
  const items = chips.map(({ name, look }) => {
    showLook(look, name);
    return h("li", {}, h("button", { type: "button", title: "Take it out", "aria-label": `Take out: ${name}`, onclick: () => toggle(name) }, look, h("span", { textContent: name }), icon("close")));
  });
  parts.chosen.replaceChildren(...(items.length ? items : [h("li", { className: "none", textContent: "None chosen: click one, or several." })]));
  parts.clear.hidden = chosen.length < 2;
}

function build(place) {
  parts = {
    search: h("input", { type: "search", placeholder: "Search styles", "aria-label": "Search styles", autocomplete: "off", spellcheck: false, oninput: search }),
    found: h("span", { className: "fl-quiet", role: "status" }),
    chosen: h("ul", { id: "fl-chosen", "aria-label": "Chosen styles" }),
    clear: button("Clear", { kind: "small bare", label: "Take out all styles", onclick: () => choose([]) }),
    switches: h("div", { className: "fl-switches" }),
    offers: h("div", { className: "fl-offers" }),
    form: h("div", { id: "fl-styleform" }),
    dear: h("div"),
    list: h("div"),
    more: h("details"),
    summary: h("summary"),
    none: h("p", { className: "fl-note", hidden: true, textContent: "No style is called so, and no group of styles." }),
    groups: [],
    favourites: [],
  };
  const add = button("New", { icon: "plus", kind: "small fl-admin-only", label: "New style", onclick: () => openStyleForm(parts.form, null, afterEdit) });
  const all = h("div", { className: "fl-groups" }, parts.dear, parts.list, parts.more);
  parts.settle = rove(all, ".pick", ".fl-tile");
  parts.more.addEventListener("toggle", parts.settle);
  const head = h("div", { className: "fl-stylehead" },
    h("div", { className: "find fl-field" }, icon("search"), parts.search, add),
    h("div", { className: "row" }, parts.chosen, parts.clear));
  parts.offers.append(makeEveryStyle(), parts.switches);
  place.append(head, parts.found, parts.offers, parts.form, parts.none, all);
}

/** The dropdown's list lies over the prompt: it goes after a choice. Gradio leaves it open until the focus goes. */
function closeAfterChoice() {
  const box = () => document.querySelector('#fl-styles input[role="combobox"][aria-expanded="true"]');
  document.addEventListener("mousedown", ({ target }) => {
    const list = target.closest("ul.option-list");
    if (list && list.id === box()?.getAttribute("aria-controls")) setTimeout(() => box()?.blur());
  });
  document.addEventListener("keydown", ({ key, target }) => {
    if (key !== "Enter" || target !== box()) return; // from the keyboard the focus stays
    setTimeout(() => box()?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true })));
  });
}

/** Gradio calls the crosses in the dropdown by the numbers of its rows. */
function nameCrosses(box) {
  for (const token of box.querySelectorAll(".token")) {
    const cross = token.querySelector(".token-remove");
    const words = `Remove ${token.textContent.trim()}`;
    if (cross && cross.title !== words) { cross.title = words; cross.setAttribute("aria-label", words); }
  }
}

function draw() {
  if (!state.menu) return;
  if (wish && sameList(wish, state.draft?.styles)) wish = null;
  if (drawn.menu !== state.menu) {
    drawn.menu = state.menu;
    drawTiles();
  }
  if (drawn.looks !== state.stylePictures) {
    drawn.looks = state.stylePictures;
    for (const { look, name } of [...tiles, ...chips]) showLook(look, name);
  }
  drawChosen();
}

/** Fill the Styles tab and keep it true. */
export async function showStyles() {
  closeAfterChoice();
  build(await whenThere("fl-stylelist"));
  loadLooks();
  onChange(draw);
  const box = await whenThere("fl-styles");
  new MutationObserver(() => nameCrosses(box)).observe(box, { childList: true, subtree: true, characterData: true, attributeFilter: ["title"] });
  nameCrosses(box);
}
