// A panel that lies over the page below its button: closes by itself, by Esc and by a click beside it.

import { button, h } from "./dom.js";

const GAP = 4; // pixels below the button

/** A button and its panel, empty; `onOpen` fills it each time. */
export function makePopover(id, words, shape, onOpen) {
  const panel = h("div", { id, className: "fl-pop", role: "dialog", "aria-label": words });
  panel.setAttribute("popover", "auto");
  const opener = button("", { icon: shape, kind: "icon bare", label: words, title: words, "aria-haspopup": "dialog", "aria-expanded": "false" });
  opener.popoverTargetElement = panel;
  const place = () => {
    const { left, bottom } = opener.getBoundingClientRect();
    panel.style.top = `${bottom + GAP}px`;
    panel.style.setProperty("--fl-left", `${left}px`);
  };
  panel.addEventListener("beforetoggle", ({ newState }) => {
    opener.setAttribute("aria-expanded", String(newState === "open"));
    if (newState === "open") { place(); onOpen(); }
  });
  addEventListener("resize", () => { if (panel.matches(":popover-open")) place(); });
  return { opener, panel };
}

export const isPopoverOpen = () => Boolean(document.querySelector(".fl-pop:popover-open"));
