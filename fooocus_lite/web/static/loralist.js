// The list of LoRAs as a recipe has it: what the form keeps as text, read and put into words.

/** Rows `{name, weight, enabled}`, from a recipe's list or from the text that the form keeps. */
export function lorasOf(value) {
  if (typeof value === "string") {
    try { value = JSON.parse(value); } catch { return []; }
  }
  const rows = Array.isArray(value) ? value.filter((row) => row && typeof row.name === "string") : [];
  return rows.map(({ name, weight = 1, enabled = true }) => ({ name, weight: Number(weight), enabled: Boolean(enabled) }));
}

const number = (weight) => String(weight).replace("-", "−");

/** "ink 0.8, soft lines −0.5" */
export function loraWords(value) {
  return lorasOf(value).filter((row) => row.enabled).map((row) => `${row.name} ${number(row.weight)}`).join(", ");
}

const ENDING = /\.(safetensors|pt|pth|ckpt|bin)$/i;
const bare = (name) => name.split("/").pop();
const normalName = (name) => name.replace(/[-_\s]+/g, " ").trim().toLowerCase();

/** Which of `files` a name means, as the library finds it: what is closer to it as written wins, then what comes first. */
export function byName(files) {
  const places = new Map();
  for (const form of [(name) => name, normalName, bare, (name) => normalName(bare(name))]) {
    for (const file of files) if (!places.has(form(file.name))) places.set(form(file.name), file);
  }
  const find = (name) => places.get(name) || places.get(normalName(name));
  return (name) => {
    const wanted = name.replace(/\\/g, "/");
    return find(wanted) || find(wanted.replace(ENDING, ""));
  };
}
