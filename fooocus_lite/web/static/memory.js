// What the browser keeps for the next visit. It may refuse (full, or forbidden by its owner); the page works without.

/** What was kept under this name, or null. */
export function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

/** Keep a text, if the browser lets us. */
export function keep(name, text) {
  try { localStorage.setItem(name, text); } catch { /* the next visit begins without it */ }
}
