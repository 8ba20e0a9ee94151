// Sentences that name a field as programs know it, with the name that stands beside it on the page.

import { guidanceFields } from "./guidances.js";

const NAME = /\b[a-z0-9]+(?:_[a-z0-9]+)+\b/g; // of one word are only names at a sentence's beginning

/** As the field has it; of guidance as the menu has it, where its tab is not drawn yet. */
const labelOf = (name) => document.getElementById(`fl-${name}`)?.querySelector('[data-testid="block-info"]')?.textContent.trim()
  || guidanceFields().find((field) => field.name === name)?.label;

/** Problem and hint of an error in the page's names; `own` are those of a form that is none of Gradio's, by field. */
export function inLabels({ problem, hint = "", field }, own = {}) {
  const said = (name) => {
    const label = own[name] || labelOf(name);
    return label ? `“${label}”` : name;
  };
  const begins = field && problem.startsWith(`${field} `);
  const rest = (begins ? problem.slice(field.length) : problem).replace(NAME, said);
  return { problem: begins ? said(field) + rest : rest, hint: hint.replace(NAME, said) };
}
