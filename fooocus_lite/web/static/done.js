// When the last picture is done and nobody looks: a sound, a notification, whichever a person asked for.

import { h, setText, whenThere } from "./dom.js";
import { isBusy } from "./form.js";
import { onEnd } from "./live.js";
import { keep, recall } from "./memory.js";

const SOUND = "fl.sound";
const NOTICE = "fl.notification";
const NOTES = [[660, 0], [880, 0.16]]; // hertz, seconds from the start
let audio = null;

/** Two soft notes, made here: no file. */
function playSound() {
  audio ??= new AudioContext();
  audio.resume();
  for (const [pitch, after] of NOTES) {
    const start = audio.currentTime + after;
    const tone = new OscillatorNode(audio, { frequency: pitch });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0, start);
    volume.gain.linearRampToValueAtTime(0.15, start + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, start + 0.6);
    tone.connect(volume).connect(audio.destination);
    tone.start(start);
    tone.stop(start + 0.6);
  }
}

function notify(task) {
  const isDone = task.state === "finished";
  const body = isDone ? task.words : task.error?.problem;
  const options = { body, icon: "/ui/favicon.svg", tag: "fooocus-lite" }; // one for all tabs: the same tag replaces it
  const notice = new Notification(isDone ? "Your picture is done" : "The picture failed", options);
  notice.onclick = () => { window.focus(); notice.close(); };
}

function told(task) {
  if (task.state === "cancelled" || isBusy() || document.hasFocus()) return;
  if (recall(NOTICE) === "1" && window.Notification?.permission === "granted") notify(task);
  if (recall(SOUND) !== "1") return;
  // Of several tabs one plays: who has the lock holds it until the others have asked.
  const soundOnce = async (lock) => { if (lock) { playSound(); await new Promise((resolve) => { setTimeout(resolve, 1000); }); } };
  if (navigator.locks) navigator.locks.request("fl.sound", { ifAvailable: true }, soundOnce);
  else playSound();
}

function checkbox(words, key, onchange) {
  const box = h("input", { type: "checkbox", checked: recall(key) === "1", onchange: () => { keep(key, box.checked ? "1" : "0"); onchange(box); } });
  return h("label", { className: "fl-field fl-check" }, box, words);
}

/** Fill the place in the Advanced column, and listen. */
export async function showDone() {
  onEnd(told);
  const place = await whenThere("fl-done");
  const note = h("p", { className: "fl-note", role: "status" });
  const ask = async (box) => {
    setText(note, "");
    if (!box.checked) return;
    const answer = window.Notification ? await Notification.requestPermission() : "denied";
    if (answer === "granted") return;
    box.checked = false;
    keep(NOTICE, "0");
    setText(note, "This browser does not let the page notify you; its settings for this address decide that.");
  };
  place.append(
    h("h3", { textContent: "When all is done and this page is out of sight" }),
    checkbox("Play a sound", SOUND, (box) => { if (box.checked) playSound(); }),
    checkbox("Show a notification", NOTICE, ask),
    note,
  );
}
