// Everything that lives on the page, started once. The forms are Gradio's; see web/ui.py.

import { showAccount } from "./account.js";
import { showContact } from "./contact.js";
import { showDone } from "./done.js";
import { resumeEditing } from "./editing.js";
import { showExpansion } from "./expand.js";
import { showFileText } from "./filetext.js";
import { followSeed, followSpeeds, showFailure } from "./form.js";
import { showGuidance } from "./guidancefold.js";
import { showFrame } from "./header.js";
import { listenToKeys } from "./keys.js";
import { follow, onEnd } from "./live.js";
import { showFetchHint } from "./fetchhint.js";
import { showLoras } from "./loras.js";
import { showModels } from "./models.js";
import { clear, clearOffline, showProblem } from "./notice.js";
import { showPictures } from "./pictures.js";
import { showPresets } from "./presetmenu.js";
import { showQueue } from "./queue.js";
import { listenForSettings } from "./reading.js";
import { showRepeats } from "./repeats.js";
import { showStage } from "./stage.js";
import { onChange } from "./store.js";
import { showStyles } from "./styles.js";
import { showInTab } from "./tab.js";
import { keepTab } from "./theme.js";

let trouble = null;
let wasConnected = false;

/** What keeps the program from drawing at all, such as a full disk; goes when it is over. */
function showTrouble(state) {
  const problem = state.trouble?.problem || null;
  if (problem === trouble) return;
  trouble = problem;
  if (problem) showProblem(state.trouble, { key: "trouble" });
  else clear("trouble");
}

/** What went wrong while the program was away can be asked for again. */
function showBack({ connected }) {
  if (connected && !wasConnected) clearOffline();
  wasConnected = connected;
}

follow();
showInTab();
listenToKeys();
followSeed();
followSpeeds();
listenForSettings();
onEnd((task, details) => { if (task.state === "failed") showFailure(task, details); });
onChange(showTrouble);
onChange(showBack);
showFrame().then(showFetchHint);
showAccount();
showStage();
showQueue().then(showPictures);
showStyles();
showContact();
showRepeats();
resumeEditing();
showPresets();
showExpansion();
showLoras();
showModels();
showDone();
showFileText();
showGuidance();
keepTab();
