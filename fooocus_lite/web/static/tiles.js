// What a style looks like, small: its picture, or until there is one its initials on a calm ground.

import { call } from "./api.js";
import { h } from "./dom.js";
import { onEnd } from "./live.js";
import { change, state } from "./store.js";

const GOLDEN_ANGLE = 137.5; // degrees: neighbours in any list get colours far apart

/** One hue per category, in the order of the menu. */
export function hueOf(category) {
  const all = [...new Set((state.menu?.styles || []).map((style) => style.category))];
  return Math.round((Math.max(0, all.indexOf(category)) * GOLDEN_ANGLE + 82) % 360);
}

const initials = (name) => name.split(/[\s-]+/).filter(Boolean).slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");

/** The ground with initials; `hue` in degrees. */
export function makeLook(name, hue) {
  const look = h("span", { className: "fl-look", "aria-hidden": "true", dataset: { initials: initials(name) } });
  look.style.setProperty("--hue", hue);
  return look;
}

/** Put the style's picture over its initials, or take it away. */
export function showLook(look, name) {
  const version = state.stylePictures[name];
  const source = version ? `/v1/style-pictures/${encodeURIComponent(name)}?v=${version}` : "";
  let img = look.querySelector("img");
  if ((img?.getAttribute("src") || "") === source) return;
  if (!source) { img.remove(); return; }
  if (!img) {
    img = h("img", { alt: "", loading: "lazy", decoding: "async", width: 96, height: 96 });
    look.append(img);
  }
  img.src = source;
}

/** Ask which styles have a picture, once, and know it of every picture from then on. */
export async function loadLooks() {
  const answer = await call("GET", "/v1/style-pictures").catch(() => null);
  if (answer) change({ stylePictures: answer.versions });
}

onEnd((task) => {
  if (task.state !== "finished" || task.styles.length !== 1) return;
  const [name] = task.styles;
  if (state.menu?.styles.find((style) => style.name === name)?.kind !== "text") return; // of such as stand for others there is none
  const isShipped = state.stylePictures[name]?.includes("-"); // such a one stays; a task's id has no dash
  if (!isShipped && !/<style:/i.test(task.words)) change({ stylePictures: { ...state.stylePictures, [name]: task.id } });
});
