// Everything that lives on the page, started once. The forms are Gradio's; see web/ui.py.

import { showFailure } from "./form.js";
import { showFrame } from "./header.js";
import { listenToKeys } from "./keys.js";
import { follow, onEnd } from "./live.js";
import { showPictures } from "./pictures.js";
import { showQueue } from "./queue.js";
import { showStage } from "./stage.js";
import { showStyles } from "./styles.js";
import { showInTab } from "./tab.js";

follow();
showInTab();
listenToKeys();
onEnd((task, details) => { if (task.state === "failed") showFailure(task, details); });
showFrame();
showStage();
showQueue().then(showPictures);
showStyles();
