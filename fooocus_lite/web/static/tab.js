// The browser tab tells how far it is: title and favicon ring.

import { onChange, running, state } from "./store.js";
import { onEnd } from "./live.js";

const NAME = "Fooocus Lite";
let done = "";
let lastRing = -1;

function words(text) {
  return text.length > 32 ? `${text.slice(0, 31)}…` : text;
}

function ring(share) {
  const step = share === null ? -1 : Math.round(share * 20);
  if (step === lastRing) return;
  lastRing = step;
  const link = document.querySelector('link[rel~="icon"]');
  if (!link) return;
  if (step < 0) { link.href = "/ui/favicon.svg"; return; }
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
  const pen = canvas.getContext("2d");
  pen.lineWidth = 6;
  for (const [colour, end] of [["#77777f", 1], ["#f2b13c", step / 20]]) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.arc(16, 16, 12, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * end);
    pen.stroke();
  }
  link.href = canvas.toDataURL();
}

function draw() {
  const now = running();
  const at = now && state.progress.get(now.id);
  let title = done ? `✓ ${done}` : NAME;
  if (now) title = at?.steps ? `▶ ${at.step}/${at.steps} ${words(now.words)}` : `▶ ${words(now.words)}`;
  if (document.title !== title) document.title = title;
  ring(now ? (at?.steps ? at.step / at.steps : 0) : null);
}

/** Start telling. */
export function showInTab() {
  onEnd((task) => { if (document.hidden && task.state === "finished") done = words(task.words); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { done = ""; draw(); } });
  onChange(draw);
}
