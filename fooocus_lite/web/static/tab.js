// The browser tab tells how far it is: title and favicon ring, unless a person wants neither.

import { onEnd } from "./live.js";
import { keep, recall } from "./memory.js";
import { onChange, running, state } from "./store.js";

const NAME = "Fooocus Lite";
const KEPT = "fl.tab-tells";
const PARTS = 20; // of the ring: it is drawn anew that often for a picture
let isOn = recall(KEPT) !== "0";
let ended = ""; // what ended while nobody looked
let lastRing = -1;

/** The ring in the theme's colours; no share, no ring. */
function ring(share) {
  const step = share === null ? -1 : Math.round(share * PARTS);
  if (step === lastRing) return;
  const link = document.querySelector('link[rel~="icon"]');
  if (!link) return;
  lastRing = step;
  if (step < 0) { link.href = "/ui/favicon.svg"; return; }
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
  const pen = canvas.getContext("2d");
  pen.lineWidth = 6;
  for (const [colour, end] of [["#77777f", 1], ["#f2b13c", step / PARTS]]) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.arc(16, 16, 12, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * end);
    pen.stroke();
  }
  link.href = canvas.toDataURL();
}

/** How far the picture is that is drawn; null while none is. */
function shareOf(now) {
  const at = now && state.progress.get(now.id);
  if (!now) return null;
  return at?.steps ? at.step / at.steps : 0;
}

/** "37 % · 12 left", "Paused · 12 waiting" */
function wordsOf(share) {
  const drawing = state.rows.filter((row) => row.state === "running").length;
  const line = state.waiting - state.held;
  if (share !== null) return `${Math.round(share * 100)} % · ${line + drawing} left`;
  if (state.paused && line) return `Paused · ${line} waiting`;
  return line ? `${line} left` : ended;
}

function draw() {
  const share = isOn ? shareOf(running()) : null;
  const words = isOn ? wordsOf(share) : "";
  const title = words ? `${words} – ${NAME}` : NAME;
  if (document.title !== title) document.title = title;
  ring(share);
}

export const tellsInTab = () => isOn;

/** Whether the tab tells it, from now on. */
export function setTellsInTab(isWanted) {
  isOn = isWanted;
  keep(KEPT, isOn ? "1" : "0");
  draw();
}

/** Start telling. */
export function showInTab() {
  onEnd((task) => {
    if (!document.hidden) return;
    if (task.state === "finished" && !ended) ended = "✓ Done";
    if (task.state === "failed") ended = "! Failed";
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { ended = ""; draw(); } });
  onChange(draw);
}
