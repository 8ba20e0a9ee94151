// Following the program: a snapshot first, then what changed. The only place that knows the messages.

import { call, parse } from "./api.js";
import { keep, recall } from "./memory.js";
import { change, doomed, state } from "./store.js";

const PAGE = 48;
const ROWS = 100; // of the line's head, as the program tells it; line.js asks for the rest
const SEEN = "fl.seen-failure"; // id of the failed task whose notice a person has answered
const endings = new Set(); // called with (task, details)
const starts = new Set(); // called when the line came whole
const tellers = new Set(); // called with sentences about a picture that is being drawn
let failed = null; // the failed task that this page told of last

/** Be told when a picture is finished, failed or cancelled. */
export function onEnd(listener) {
  endings.add(listener);
}

/** Be told when the line came whole: what ended before that was not told one by one. */
export function onNewLine(listener) {
  starts.add(listener);
}

/** Be told what a person should know of a picture that is being drawn. */
export function onNotes(listener) {
  tellers.add(listener);
}

function tellEnd(task, details) {
  if (task.state === "failed") failed = task;
  for (const listener of endings) listener(task, details);
}

const receive = {
  snapshot({ rows, progress, preview, last_failure: failure, downloads, user, ...now }) {
    change({
      user,
      connected: true,
      downloads,
      rows,
      progress: new Map(progress.map((one) => [one.id, one])),
      preview: preview ? asPreview(preview) : null,
      ...numbers(now),
    });
    loadNewPictures();
    for (const listener of starts) listener();
    if (failure && ![failed?.id, recall(SEEN)].includes(failure.task.id)) tellEnd(failure.task, failure.details);
  },
  line({ rows, ...now }) {
    const lives = new Set(rows.map((row) => row.id));
    const patch = { rows, ...numbers(now) };
    for (const id of state.progress.keys()) if (!lives.has(id)) state.progress.delete(id);
    if (state.preview && !lives.has(state.preview.id)) patch.preview = null;
    change(patch);
    for (const listener of starts) listener();
  },
  task({ task, picture, details, notes, has_ended: hasEnded, ...now }) {
    const patch = numbers(now);
    const lives = task.state === "waiting" || task.state === "running";
    if (lives) {
      const known = state.rows.some((row) => row.id === task.id);
      const isBeyond = !known && task.state === "waiting" && waitingIn(state.rows) >= ROWS;
      const rows = known ? state.rows.map((row) => (row.id === task.id ? task : row)) : [...state.rows, ...(isBeyond ? [] : [task])];
      const place = (row) => now.places[row.id] || Infinity;
      patch.rows = rows.sort((a, b) => rank(a) - rank(b) || place(a) - place(b) || (a.id < b.id ? -1 : 1));
    } else {
      state.progress.delete(task.id);
      patch.rows = state.rows.filter((row) => row.id !== task.id);
      if (state.preview?.id === task.id) patch.preview = null;
    }
    if (picture) patch.pictures = [picture, ...state.pictures.filter((one) => one.id !== picture.id)];
    change(patch);
    if (notes) for (const listener of tellers) listener(notes);
    if (hasEnded) tellEnd(task, details);
  },
  numbers(now) {
    change(numbers(now));
  },
  progress(one) {
    state.progress.set(one.id, one);
    change({});
  },
  preview(one) {
    change({ preview: asPreview(one) });
  },
  downloads({ downloads }) {
    change({ downloads });
  },
};

/** What is drawn, what is next, and behind them what waits for files. */
const rank = (row) => (row.state === "running" ? 0 : row.waits_for ? 2 : 1);

const waitingIn = (rows) => rows.filter((row) => row.state === "waiting").length;

function numbers({ waiting, held, ahead, places, seconds_left: secondsLeft, paused, repeats, version, workers, trouble }) {
  return { waiting, held, ahead, places, secondsLeft, paused, repeats, version, workers, trouble };
}

function asPreview({ id, jpeg, width, height }) {
  return { id, width, height, url: `data:image/jpeg;base64,${jpeg}` };
}

function take(text) {
  const message = parse(text);
  receive[message.type]?.(message);
}

const notDoomed = (picture) => !doomed.has(picture.id);
const picturePage = (before) => call("GET", `/v1/pictures?limit=${PAGE}${before ? `&before=${encodeURIComponent(before)}` : ""}`);
let loading = false;

/** The next page of pictures, newest first. */
export async function loadPictures() {
  if (loading || !state.nextPictures) return;
  loading = true;
  try {
    const before = state.nextPictures;
    const page = await picturePage(before);
    if (state.nextPictures !== before) return; // the list began anew meanwhile
    const known = new Set(state.pictures.map((one) => one.id));
    change({
      pictures: [...state.pictures, ...page.pictures.filter((one) => notDoomed(one) && !known.has(one.id))],
      nextPictures: page.next,
    });
  } catch { /* the stream tells whether the program is away */ } finally {
    loading = false;
  }
}

/** The newest page again: on top of the pages that are here, so that a person who scrolled down stays there. */
async function loadNewPictures() {
  const before = new Set(state.pictures.map((one) => one.id));
  try {
    const page = await picturePage(null);
    const newest = new Set(page.pictures.map((one) => one.id));
    const came = state.pictures.filter((one) => !before.has(one.id) && !newest.has(one.id)); // while we asked
    const last = state.pictures.findLastIndex((one) => newest.has(one.id));
    const older = last < 0 ? [] : state.pictures.slice(last + 1); // none in common: there may be a gap, begin anew
    change({
      pictures: [...came, ...page.pictures.filter(notDoomed), ...older],
      nextPictures: older.length ? state.nextPictures : page.next,
      picturesKnown: true,
    });
  } catch { /* as above */ }
}

/** Start following; re-attaches by itself after a lost connection. */
export function follow() {
  const lost = () => change({ connected: false });
  document.addEventListener("click", ({ target }) => {
    const notice = target.closest?.(".fl-notice .actions button")?.closest(".fl-notice");
    if (failed && notice?.dataset.key === "task") keep(SEEN, failed.id);
  }, { capture: true }); // before the button takes its notice away
  if ("SharedWorker" in window) {
    let port = null;
    const join = () => {
      port = new SharedWorker("/ui/live-worker.js", { name: "fooocus-lite-live" }).port;
      port.onmessage = ({ data }) => (data.lost ? lost() : take(data.data));
    };
    join();
    window.addEventListener("pagehide", () => port.postMessage("bye"));
    window.addEventListener("pageshow", (event) => { if (event.persisted) join(); });
    return;
  }
  const open = () => {
    const source = new EventSource("/v1/events");
    source.onmessage = (event) => take(event.data);
    source.onerror = () => {
      lost();
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 1000);
    };
  };
  open();
}
