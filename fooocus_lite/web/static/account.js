// Who is logged in, and the way out. Where nobody has to log in, nothing of this shows.

import { call } from "./api.js";
import { button, whenThere } from "./dom.js";
import { onChange, state } from "./store.js";

async function logOut() {
  await fetch("/logout", { method: "POST" }).catch(() => null);
  location.reload(); // to the page that asks who one is
}

/** The button in the top line. */
export async function showAccount() {
  let wasConnected = false;
  onChange(() => {
    // A stream says no more than that it broke: a call hears whether the session has ended, and `call` sees to that.
    if (wasConnected && !state.connected) call("GET", "/v1/me").catch(() => null);
    wasConnected = state.connected;
    document.documentElement.toggleAttribute("data-guest", !state.user.is_admin);
  });
  const me = await call("GET", "/v1/me").catch(() => null);
  if (!me?.name) return;
  const tools = await whenThere("fl-tools");
  tools.append(button("Log out", { icon: "leave", label: "Log out", kind: "bare", id: "fl-logout", title: `You are ${me.name}`, onclick: logOut }));
}
