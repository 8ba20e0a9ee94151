// A panel that lies over the page below its button: closes by itself, by Esc and by a click beside it.

import { button, h } from "./dom.js";

const GAP = 4; // pixels between the button and its panel
const EDGE = 8; // pixels that stay free to the window's edges

/** Put an open panel below what it belongs to; above it where there is no room below. */
function place(panel, opener) {
  const { left, top, bottom } = opener.getBoundingClientRect();
  const { width, height } = panel.getBoundingClientRect();
  const below = bottom + GAP;
  const above = Math.max(EDGE, top - GAP - height);
  panel.style.top = `${below + height + EDGE > innerHeight && top > innerHeight / 2 ? above : below}px`;
  panel.style.setProperty("--fl-left", `${Math.max(EDGE, Math.min(left, innerWidth - width - EDGE))}px`);
}

/** A button and its panel, empty; `onOpen` fills it each time. */
export function makePopover(id, words, shape, onOpen) {
  const panel = h("div", { id, className: "fl-pop", role: "dialog", "aria-label": words });
  panel.setAttribute("popover", "auto");
  const opener = button("", { icon: shape, kind: "icon bare", label: words, title: words, "aria-haspopup": "dialog", "aria-expanded": "false" });
  opener.popoverTargetElement = panel;
  panel.addEventListener("beforetoggle", ({ newState }) => {
    opener.setAttribute("aria-expanded", String(newState === "open"));
    if (newState === "open") { onOpen(); requestAnimationFrame(() => place(panel, opener)); }
  });
  addEventListener("resize", () => { if (panel.matches(":popover-open")) place(panel, opener); });
  return { opener, panel };
}

/** A panel that several things open: `openAt` puts it beside the one that asks. */
export function makePanel(id, attributes) {
  const panel = h("div", { id, className: "fl-pop", ...attributes });
  panel.setAttribute("popover", "auto");
  document.body.append(panel);
  panel.openAt = (opener) => {
    panel.showPopover();
    place(panel, opener);
  };
  return panel;
}

export const isPopoverOpen = () => Boolean(document.querySelector(".fl-pop:popover-open"));
