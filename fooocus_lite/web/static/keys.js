// The keyboard: Ctrl+Enter, Esc, Alt+S, ↑ in an empty prompt, ← → Del for pictures.

import { backToSheet, closeSheet, isSheetBehind, isSheetShown } from "./contact.js";
import { cancelEditing, isEditing, save } from "./editing.js";
import { lastPrompt } from "./form.js";
import { skip, stop } from "./header.js";
import { isGalleryOpen, removePicture, setGallery } from "./pictures.js";
import { isZoomed, step, zoom } from "./stage.js";
import { shown } from "./store.js";
import { isPopoverOpen } from "./popover.js";
import { isQueueOpen, setQueueOpen, setSheet } from "./theme.js";

const isTyping = (node) => node.matches?.("input, textarea, select, [contenteditable]");
const isMenuOpen = (node) => node.getAttribute?.("aria-expanded") === "true" && node.getAttribute("role") === "combobox";

function escape(event) {
  if (isMenuOpen(event.target) || isPopoverOpen() || event.target.closest?.("form")) return undefined;
  if (isZoomed()) return zoom();
  if (document.documentElement.dataset.sheet) return setSheet("");
  if (isGalleryOpen()) return setGallery(false);
  if (isQueueOpen()) return setQueueOpen(false);
  if (isEditing()) return cancelEditing();
  if (isSheetShown()) return closeSheet();
  if (isSheetBehind()) return backToSheet();
  return skip();
}

function pressed(event) {
  const { key, target } = event;
  if (key !== "Escape" && target.closest?.(".fl-pop")) return; // a panel has keys of its own
  if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (isEditing()) save();
    else document.getElementById("fl-generate").click();
  } else if (event.altKey && event.code === "KeyS" && !event.ctrlKey && !event.metaKey) {
    event.preventDefault(); // browsers open a menu, and a Mac types a letter
    stop();
  } else if (key === "Escape") escape(event);
  else if (key === "ArrowUp" && target.matches?.("#fl-prompt textarea") && target.value === "") lastPrompt();
  else if (isTyping(target) || event.ctrlKey || event.altKey || event.metaKey || target.closest?.('[role="tablist"], [data-roving]')) return;
  else if (key === "ArrowLeft") step(-1);
  else if (key === "ArrowRight") step(1);
  else if (key === "Delete" && shown()) removePicture(shown());
}

/** Listen. */
export function listenToKeys() {
  document.addEventListener("keydown", pressed, true);
}
