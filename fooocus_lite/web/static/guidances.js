// What can lead a picture, as the menu lists it: which fields, what is off, and what of it a recipe or draft has on.

import { state } from "./store.js";

const rows = () => state.menu?.guidances || [];

/** Every field but the scale, with its label and the value that means off. */
export const guidanceFields = () => rows().flatMap((row) => row.fields);

/** All of it off, by field name. */
export const allOff = () => Object.fromEntries(guidanceFields().map(({ name, off }) => [name, off]));

const switchedOn = (recipe) => ({ name, off, switches }) => switches && (recipe[name] ?? off) !== off;

/** What is on, by the names of its fields. */
export const namesOn = (recipe) => guidanceFields().filter(switchedOn(recipe)).map(({ label }) => label);

/** What is on, as [label, values in words]. */
export function guidanceOn(recipe) {
  return rows().filter((row) => row.fields.some(switchedOn(recipe))).map((row) => [
    row.label, row.fields.map(({ name, off }) => recipe[name] ?? off).join(" · "),
  ]);
}
