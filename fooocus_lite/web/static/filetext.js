// Whether pictures also say their settings as A1111 does: kept by the program, for every browser.

import { call } from "./api.js";
import { h, setText, whenThere } from "./dom.js";
import { change, onChange, state } from "./store.js";

/** Fill the place below the file format. */
export async function showFileText() {
  const place = await whenThere("fl-filetext");
  const note = h("p", { className: "fl-note", role: "status" });
  const box = h("input", { type: "checkbox", onchange: async () => {
    try {
      const answer = await call("PUT", "/v1/a1111-text", { a1111_text: box.checked });
      change({ menu: { ...state.menu, a1111_text: answer.a1111_text } });
      setText(note, answer.note);
    } catch (error) {
      change({});
      setText(note, `${error.problem} ${error.hint}`);
    }
  } });
  place.append(
    h("label", { className: "fl-field fl-check" }, box, "Settings as A1111's text, too"),
    h("p", { className: "fl-note", textContent: "Civitai and other programs read that; ours is always in the file." }),
    h("p", { className: "fl-note fl-guest-only", textContent: "It is the same for everybody here: an admin decides it." }),
    note,
  );
  onChange(() => {
    if (state.menu) box.checked = state.menu.a1111_text;
    box.disabled = !state.user.is_admin;
  });
}
