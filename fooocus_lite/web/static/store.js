// What the page knows. One object, one way to change it, and views that redraw from it.

import { recall } from "./memory.js";

export const state = {
  connected: false,
  rows: [], // waiting and running, in the order they will be drawn
  waiting: 0, // all that wait, also those beyond `rows`
  held: 0, // those of them that wait for files
  user: { name: "", is_admin: true }, // who looks at this page
  ahead: 0, // tasks of other users, which are not in `rows`, that come before the first of them
  places: {}, // by id, where several users wait for their turns; else they are 1, 2, 3 …
  downloads: [], // as /v1/downloads gives them
  progress: new Map(), // id -> {step, steps, seconds_left}
  preview: null, // {id, url, width, height}: the running picture so far
  pictures: [], // newest first, as far as loaded
  nextPictures: null, // where the next page begins; null = all are here
  picturesKnown: false, // false until the first page came
  selected: null, // id of the picture a person looks at; null = follow what is being drawn
  paused: false, // nothing new is begun
  repeats: [], // {id, words, times, begun, error}: what runs again and again
  version: 0, // another one when the line is another than what was told of single tasks
  secondsLeft: null, // of the waiting line, measured
  workers: [], // {name, state, device, device_name, memory}
  trouble: null, // what keeps the program from drawing now
  menu: null,
  draft: null, // the form's values, by field name
  chosenPreset: null, // the preset that filled the form last
  chosenMode: null, // the mode that the form shows
  details: recall("fl.details") === "1",
  sheet: null, // the contact sheet that is open, as /v1/sheets gives it
  visit: null, // a picture of it that is looked at and may be on no page of `pictures` that is here
  stylePictures: {}, // version of each style's small picture, by name
};

/** Pictures that were deleted here but can still be had back; no page of the gallery brings them in. */
export const doomed = new Set();

const views = new Set();
let due = false;

/** Merge a change in and redraw once, before the next frame. */
export function change(patch) {
  Object.assign(state, patch);
  if (due) return;
  due = true;
  const draw = () => {
    due = false;
    for (const view of views) view(state);
  };
  if (document.hidden) setTimeout(draw, 50);
  else requestAnimationFrame(draw);
}

/** Draw now and whenever something changes. */
export function onChange(view) {
  views.add(view);
  view(state);
}

export const running = () => state.rows.find((row) => row.state === "running") || null;
export const shown = () => state.pictures.find((picture) => picture.id === state.selected) || (state.visit?.id === state.selected ? state.visit : null);
