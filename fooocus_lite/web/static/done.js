// Telling who looks elsewhere: when all is done, or a picture failed, by sound, by notification, whichever was asked for.

import { h, setText, whenThere } from "./dom.js";
import { onEnd } from "./live.js";
import { keep, recall } from "./memory.js";
import { state } from "./store.js";
import { setTellsInTab, tellsInTab } from "./tab.js";

const SOUND = "fl.sound";
const NOTICE = "fl.notification";
const DONE = [[660, 0], [880, 0.16]]; // hertz, seconds from the start: up for done, down for failed
const FAILED = [[520, 0], [390, 0.2]];
const LENGTH_S = 0.6;
let audio = null;
let done = 0; // pictures that were finished, and that failed, since all was done last
let failed = 0;
let isFailureTold = false; // one of a hundred alike is told, until somebody looks

/** Two soft notes, made here: no file. */
function playSound(notes) {
  audio ??= new AudioContext();
  audio.resume();
  for (const [pitch, after] of notes) {
    const start = audio.currentTime + after;
    const tone = new OscillatorNode(audio, { frequency: pitch });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0, start);
    volume.gain.linearRampToValueAtTime(0.15, start + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, start + LENGTH_S);
    tone.connect(volume).connect(audio.destination);
    tone.start(start);
    tone.stop(start + LENGTH_S);
  }
}

function notify(title, body) {
  const notice = new Notification(title, { body, icon: "/ui/favicon.svg", tag: "fooocus-lite" }); // one for all tabs: the same tag replaces it
  notice.onclick = () => { window.focus(); notice.close(); };
}

/** "3 pictures are done, 1 failed" */
function summary() {
  if (!done) return failed > 1 ? `${failed} pictures failed` : "The picture failed";
  const words = done > 1 ? `${done} pictures are done` : "Your picture is done";
  return failed ? `${words}, ${failed} failed` : words;
}

function tell(title, body, notes) {
  if (document.hasFocus()) return;
  if (recall(NOTICE) === "1" && window.Notification?.permission === "granted") notify(title, body);
  if (recall(SOUND) !== "1") return;
  // Of several tabs one plays: who has the lock holds it until the others have asked.
  const soundOnce = async (lock) => { if (lock) { playSound(notes); await new Promise((resolve) => { setTimeout(resolve, 1000); }); } };
  if (navigator.locks) navigator.locks.request("fl.sound", { ifAvailable: true }, soundOnce);
  else playSound(notes);
}

function told(task) {
  // The number is newer than the rows: what is just begun waits no more, and its row does not say so yet.
  const isBusy = state.waiting > state.held || state.rows.some((row) => row.state === "running" || !row.waits_for);
  if (task.state === "finished") done += 1;
  if (task.state === "failed") failed += 1;
  if (!isBusy) {
    if (task.state !== "cancelled") tell(summary(), task.error?.problem || task.words, task.state === "failed" ? FAILED : DONE);
    done = failed = 0;
    isFailureTold = false;
  } else if (task.state === "failed" && !isFailureTold) {
    isFailureTold = true;
    tell("A picture failed", task.error?.problem, FAILED);
  }
}

function checkbox(words, isOn, onchange) {
  const box = h("input", { type: "checkbox", checked: isOn, onchange: () => onchange(box) });
  return h("label", { className: "fl-field fl-check" }, box, words);
}

function setSound(box) {
  keep(SOUND, box.checked ? "1" : "0");
  if (box.checked) playSound(DONE);
}

/** The browser is asked when somebody switches it on, and not before. */
async function setNotice(box, note) {
  setText(note, "");
  keep(NOTICE, box.checked ? "1" : "0");
  if (!box.checked) return;
  const answer = window.Notification ? await Notification.requestPermission() : "denied";
  if (answer === "granted") return;
  box.checked = false;
  keep(NOTICE, "0");
  setText(note, "This browser does not let the page notify you; its settings for this address decide that.");
}

/** Fill the place in the Advanced column, and listen. */
export async function showDone() {
  onEnd(told);
  addEventListener("focus", () => { isFailureTold = false; });
  const place = await whenThere("fl-done");
  const note = h("p", { className: "fl-note", role: "status" });
  place.append(
    h("h3", { textContent: "While pictures are drawn" }),
    checkbox("Show progress in the tab's title and icon", tellsInTab(), (box) => setTellsInTab(box.checked)),
    h("h3", { textContent: "When all is done or one failed, and this page is out of sight" }),
    checkbox("Play a sound", recall(SOUND) === "1", setSound),
    checkbox("Show a notification", recall(NOTICE) === "1", (box) => setNotice(box, note)),
    note,
  );
}
