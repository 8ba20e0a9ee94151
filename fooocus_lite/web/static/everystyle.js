// "See my prompt in every style": what it will take is said before the click.

import { call } from "./api.js";
import { openSheet } from "./contact.js";
import { button, duration, h, setText } from "./dom.js";
import { expandStyle, refuse, toRecipe } from "./form.js";
import { clear } from "./notice.js";
import { onChange, state } from "./store.js";
import { setSheet } from "./theme.js";

const MAX_CELLS = 500;

const isText = (style) => style.kind === "text";

/** Names by what a person may mean; `fitting` and `all` are named by the program itself. */
function scopes() {
  const texts = state.menu.styles.filter(isText);
  const known = new Set(texts.map((style) => style.name));
  const name = state.draft?.model || state.estimate?.recipe.model || state.menu.defaults.model;
  const model = state.menu.models.find((one) => one.name === name);
  const learned = model?.style_categories || [];
  const fitting = texts.filter((style) => !learned.length || learned.includes(style.category));
  return {
    chosen: { names: (state.draft?.styles || []).filter((one) => known.has(one)), words: (count) => (count === 1 ? "the one chosen" : `the ${count} chosen`) },
    fitting: { names: fitting.map((style) => style.name), words: (count) => `the ${count} that ${model?.label || "the model"} knows` },
    all: { names: texts.map((style) => style.name), words: (count) => `all ${count}` },
  };
}

let isAsking = false;

/** One sheet for one click: a second one while the first is on its way would draw everything twice. */
async function ask(scope, names) {
  if (isAsking) return;
  isAsking = true;
  clear("form");
  const { count, ...recipe } = toRecipe(state.draft);
  recipe.styles = expandStyle(state.draft);
  try {
    const sheet = await call("POST", "/v1/sheets", { recipe, styles: scope === "chosen" ? names : null, every: scope === "all" });
    openSheet(sheet);
  } catch (error) {
    setSheet("");
    refuse(error);
  } finally {
    isAsking = false;
  }
}

/** The box, which keeps itself true. */
export function makeEveryStyle() {
  let picked = null; // a choice of the person's; null = the chosen ones if there are several, else those that fit
  let now = null;
  const select = h("select", { "aria-label": "Draw it in", onchange: () => { picked = select.value; draw(); } });
  const words = h("span");
  const go = button("See my prompt in every style", { icon: "grid", title: "The same words and seed once in each style, without any other", onclick: () => { if (now?.count) ask(now.scope, now.names); } });
  const box = h("div", { id: "fl-every" }, go, h("p", {}, select, words));
  let key = "";
  function draw() {
    if (!state.menu) return;
    const all = scopes();
    if (!all.chosen.names.length && picked === "chosen") picked = null;
    const scope = picked || (all.chosen.names.length > 1 ? "chosen" : all.fitting.names.length ? "fitting" : "all");
    const { names } = all[scope];
    now = { scope, names, count: names.length };
    const each = state.estimate?.seconds_per_picture;
    const offered = Object.entries(all).filter(([name, { names: some }]) => some.length && (name !== "fitting" || some.length < all.all.names.length));
    const wanted = JSON.stringify([scope, offered.map(([name, one]) => [name, one.names.length, one.words("")])]);
    if (wanted !== key) {
      key = wanted;
      select.replaceChildren(...offered.map(([name, one]) => h("option", { value: name, textContent: one.words(one.names.length), selected: name === scope })));
    }
    const cost = each ? ` · about ${duration(each * now.count)}` : "";
    const [added] = expandStyle(state.draft);
    setText(words, now.count > MAX_CELLS ? `${now.count} are too many; choose at most ${MAX_CELLS}.`
      : `${now.count} ${now.count === 1 ? "picture" : "pictures"}${cost} · one seed${added ? ` · ${added} stays on` : ""}`);
    go.setAttribute("aria-disabled", String(!now.count || now.count > MAX_CELLS));
  }
  let seen = [];
  onChange(() => {
    const facts = [state.menu, state.draft, state.estimate];
    if (facts.every((fact, at) => fact === seen[at])) return;
    seen = facts;
    draw();
  });
  return box;
}
