// Who draws: the device in the top line, and where there are several, a list of all of them.

import { h } from "./dom.js";
import { makePopover } from "./popover.js";
import { onChange, state } from "./store.js";

const STATES = { starting: "starting", idle: "ready", drawing: "drawing", away: "away" };
const gigabytes = (bytes) => Math.round(bytes / 2 ** 30);
const nameOf = ({ device, device_name: called }) => called || (device === "cpu" ? "CPU" : device);

/** The first that can draw, in words, and how many others; empty while none has said what it is. */
export function deviceWords() {
  const here = state.workers.filter((one) => one.state !== "away");
  const first = here.find((one) => one.device);
  if (!first) return "";
  const memory = first.total_memory_bytes ? ` · ${gigabytes(first.total_memory_bytes)} GB` : "";
  return `${nameOf(first)}${memory}${here.length > 1 ? ` · ${here.length - 1} more` : ""}`;
}

function row(worker) {
  const { name, machine, problem, models, free_memory_bytes: free } = worker;
  const about = [nameOf(worker), free && `${gigabytes(free)} GB free`, models?.length && models.join(", ")];
  return h("li", { dataset: { state: worker.state } },
    h("i"),
    h("b", { textContent: machine ? `${machine} · ${name}` : name }),
    h("span", { textContent: STATES[worker.state] || worker.state }),
    h("p", { textContent: problem || about.filter(Boolean).join(" · ") }));
}

/** What opens the list, there while there is more to tell than one device; and the list. */
export function workersList() {
  const list = h("ul");
  const fill = () => list.replaceChildren(...state.workers.map(row));
  const { opener, panel } = makePopover("fl-workers", "Who draws", "list", fill);
  panel.append(list);
  onChange(() => {
    opener.hidden = state.workers.length < 2 && !state.workers[0]?.machine;
    if (panel.matches(":popover-open")) fill();
  });
  return [opener, panel];
}
