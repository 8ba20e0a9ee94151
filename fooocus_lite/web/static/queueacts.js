// What can be done to what waits: move, duplicate, cancel, pause. Shown at once, taken back if the program refuses.

import { call } from "./api.js";
import { number, ordinal } from "./dom.js";
import { say } from "./form.js";
import { besideOf, look, markGoing, showMoved } from "./line.js";
import { showProblem } from "./notice.js";
import { change, state } from "./store.js";

const KEY = "queue"; // of the notice that says what went wrong here

/** Ask the program; what it refuses is said, and the line is shown as it is. */
export async function ask(method, path, body) {
  try {
    return await call(method, path, body);
  } catch (error) {
    showProblem(error, { key: KEY });
    return null;
  } finally {
    look();
  }
}

/** How the program is told of an entry: its batch as far as that waits, or the one picture. */
const named = ({ level, row, group }) => (level === 2 ? { ids: [row.id] } : { batch_id: group.batch_id });
const nameOf = ({ level, row, group }) => (level === 2 ? row.id : group.batch_id);

/** Up (-1) or down (1) by one. */
export async function moveBy(entry, by) {
  const beside = besideOf(entry, by);
  if (!entry.group || !beside) return;
  if (by < 0) await moveBeside(entry, beside, "before");
  else await moveBeside(entry, beside, "after");
}

/** Before or after another entry of the same level. */
export async function moveBeside(entry, other, side) {
  const settle = entry.level === 1 ? showMoved(entry.group.batch_id, other.group.batch_id, side === "before" ? 0 : 1) : null;
  const isDone = await ask("POST", "/v1/queue/move", { ...named(entry), [side]: nameOf(other) });
  settle?.(isDone);
  if (isDone && entry.level === 1) say(other.place === 1 && side === "before" ? "Moved: it is next" : `Moved: ${ordinal(other.place)} in line`);
}

/** To the "first" or the "last" place of the whole line. */
export async function moveTo(entry, to) {
  if (entry.group && await ask("POST", "/v1/queue/move", { ...named(entry), to })) say(to === "first" ? "Moved: it is next" : "Moved to the end of the line");
}

/** Once more what waits of it, right behind it. */
export async function duplicate(entry, isNew) {
  if (entry.group && await ask("POST", "/v1/queue/duplicate", { ...named(entry), new_seed: isNew })) say(isNew ? "Lined up once more, with a new seed" : "Lined up once more");
}

/** How many pictures an entry stands for. */
export function picturesOf({ level, row, group }) {
  if (level === 2 || !group) return 1;
  return group.waiting + (row.state === "running" ? 1 : 0);
}

/** End it: one picture, or all of the batch; what is being drawn of it ends at its next step. */
export async function cancel(entry) {
  const { level, row, group } = entry;
  const count = picturesOf(entry);
  const runs = row.state === "running" && level === 1;
  markGoing(entry, true);
  const asked = [];
  if (group) asked.push(call("POST", "/v1/queue/cancel", named(entry)));
  if (runs) asked.push(call("DELETE", `/v1/tasks/${row.id}`));
  try {
    await Promise.all(asked);
    if (count > 1) say(`${number(count)} pictures cancelled`);
  } catch (error) {
    markGoing(entry, false);
    showProblem(error, { key: KEY });
  }
  look();
}

/** Ask for the end of some pictures that are told of one by one: they say so at once, and take it back if the program refuses. */
export function cancelRows(rows, method, path) {
  const ids = new Set(rows.map((row) => row.id));
  const mark = (cancelling) => change({ rows: state.rows.map((one) => (ids.has(one.id) ? { ...one, cancelling } : one)) });
  mark(true);
  call(method, path).catch((error) => {
    mark(false);
    showProblem(error, { key: KEY });
  });
}

/** Everything that waits. */
export async function cancelAll() {
  const { waiting } = state;
  if (await ask("POST", "/v1/clear")) say(`${number(waiting)} ${waiting === 1 ? "picture" : "pictures"} cancelled`);
}

/** Begin nothing new; or go on. */
export const setPaused = (isPaused) => ask("POST", isPaused ? "/v1/queue/pause" : "/v1/queue/resume");
