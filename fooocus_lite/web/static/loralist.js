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

/** The same name for what a person may write in several ways; as the library compares them. */
export const normalName = (name) => name.replace(/\\/g, "/").replace(/\.safetensors$/i, "").replace(/[-_\s]+/g, " ").trim().toLowerCase();
