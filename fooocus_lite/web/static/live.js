// Following the program: a snapshot first, then what changed. The only place that knows the messages.

import { call, parse } from "./api.js";
import { change, doomed, running, state } from "./store.js";

const PAGE = 48;
const endings = new Set(); // called with (task, details)

/** Be told when a picture is finished, failed or cancelled. */
export function onEnd(listener) {
  endings.add(listener);
}

function withoutRow(id) {
  state.progress.delete(id);
  return state.rows.filter((row) => row.id !== id);
}

const receive = {
  snapshot({ rows, progress, preview, ...now }) {
    change({
      connected: true,
      rows,
      progress: new Map(progress.map((one) => [one.id, one])),
      preview: preview ? asPreview(preview) : null,
      ...numbers(now),
    });
    loadPictures({ fresh: true });
  },
  line({ rows, ...now }) {
    const lives = new Set(rows.map((row) => row.id));
    const patch = { rows, ...numbers(now) };
    for (const id of state.progress.keys()) if (!lives.has(id)) state.progress.delete(id);
    if (state.preview && !lives.has(state.preview.id)) patch.preview = null;
    change(patch);
  },
  task({ task, picture, details, ...now }) {
    const patch = numbers(now);
    const lives = task.state === "waiting" || task.state === "running";
    if (lives) {
      const known = state.rows.some((row) => row.id === task.id);
      const rows = known ? state.rows.map((row) => (row.id === task.id ? task : row)) : [...state.rows, task];
      patch.rows = rows.sort((a, b) => (b.state === "running") - (a.state === "running"));
    } else {
      state.progress.delete(task.id);
      patch.rows = state.rows.filter((row) => row.id !== task.id);
      if (state.preview?.id === task.id) patch.preview = null;
    }
    if (picture) patch.pictures = [picture, ...state.pictures.filter((one) => one.id !== picture.id)];
    change(patch);
    if (lives) return;
    for (const listener of endings) listener(task, details);
    refillRows();
  },
  progress(one) {
    state.progress.set(one.id, one);
    change({});
  },
  preview(one) {
    change({ preview: asPreview(one) });
  },
};

function numbers({ waiting, seconds_left: secondsLeft, workers, trouble }) {
  return { waiting, secondsLeft, workers, trouble };
}

function asPreview({ id, jpeg, width, height }) {
  return { id, width, height, url: `data:image/jpeg;base64,${jpeg}` };
}

function take(text) {
  const message = parse(text);
  receive[message.type]?.(message);
}

/** A snapshot lists the head of a long queue; when that was eaten up, ask for the next rows. */
async function refillRows() {
  if (state.rows.length >= 20 || state.waiting <= state.rows.length) return;
  const { tasks } = await call("GET", "/v1/queue");
  const now = running();
  change({ rows: [...(now ? [now] : []), ...tasks.filter((row) => row.id !== now?.id)] });
}

let loading = false;

/** The next page of pictures (or the first again), newest first. */
export async function loadPictures({ fresh = false } = {}) {
  if (loading || (!fresh && !state.nextPictures)) return;
  loading = true;
  try {
    const query = fresh || !state.nextPictures ? "" : `&before=${encodeURIComponent(state.nextPictures)}`;
    const page = await call("GET", `/v1/pictures?limit=${PAGE}${query}`);
    const known = new Set([...doomed, ...(fresh ? [] : state.pictures.map((one) => one.id))]);
    change({
      pictures: [...(fresh ? [] : state.pictures), ...page.pictures.filter((one) => !known.has(one.id))],
      nextPictures: page.next,
      picturesKnown: true,
    });
  } catch { /* the stream tells whether the program is away */ } finally {
    loading = false;
  }
}

/** Start following; re-attaches by itself after a lost connection. */
export function follow() {
  const lost = () => change({ connected: false });
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
