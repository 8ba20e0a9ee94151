// Talking to the server. Every refusal arrives as a Problem: what is wrong, what to do.

export class Problem extends Error {
  constructor({ problem, hint = "", code = "internal", field = null }) {
    super(problem);
    Object.assign(this, { problem, hint, code, field });
  }
}

// Seeds go up to 2^63 - 1, more than a JavaScript number can hold: they travel as text in here.
const LONG_SEED = /("seed":\s*)(\d{16,})/g;

/** JSON with long seeds kept exact. */
export function parse(text) {
  return JSON.parse(text.replace(LONG_SEED, '$1"$2"'));
}

/** One request; resolves to the answer, rejects with a Problem. */
export function call(method, path, body) {
  if (body === undefined) return ask(path, { method });
  return ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** A file or text to the server as it is; answers as `call`. */
export function send(path, content) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: content });
}

async function ask(path, request) {
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Problem({
      problem: "The program does not answer.",
      hint: "Look whether its window is still open, and start it again if not; the queue is kept.",
      code: "offline",
    });
  }
  if (answer.status === 401) location.reload(); // the session has ended: the page that comes asks who one is
  const text = await answer.text();
  let data = null;
  try { data = text ? parse(text) : null; } catch { /* not JSON: handled below */ }
  if (answer.ok) return data;
  throw new Problem(data && data.problem ? data : { problem: `The program answered ${answer.status}.`, hint: "Reload the page and try again." });
}

export const imageUrl = (id) => `/v1/tasks/${id}/image`;
export const wordsOf = (id) => call("GET", `/v1/pictures/${id}/words`);
export const thumbUrl = (id) => `/v1/tasks/${id}/thumbnail`;
