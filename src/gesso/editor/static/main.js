// Builds the editor: asks the server about its model, makes the App, and mounts panes, tools and panels on it.

import { App } from "./app.js";
import { emptyDocument } from "./model/document.js";
import { keepAutosave } from "./net/autosave.js";
import { model as askModel } from "./net/api.js";
import { keepPhotograph } from "./net/keeping.js";
import { connectLive } from "./net/live.js";
import { mountExamples } from "./panels/examples.js";
import { mountFaithfulness } from "./panels/faithfulness.js";
import { mountFiles } from "./panels/files.js";
import { mountHelp } from "./panels/help.js";
import { mountHistory } from "./panels/history.js";
import { mountKeeping } from "./panels/keeping.js";
import { mountLatency } from "./panels/latency.js";
import { mountMessages } from "./panels/messages.js";
import { mountObjects } from "./panels/objects.js";
import { mountPalette } from "./panels/palette.js";
import { mountStyles } from "./panels/styles.js";
import { mountToolbar } from "./panels/toolbar.js";
import { listenToKeys } from "./tools/keys.js";
import { mountView } from "./view/view.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;

/** @type {Record<string, (container: HTMLElement, app: App) => void>} */
const PANELS = {
  palette: mountPalette,
  toolbar: mountToolbar,
  messages: mountMessages,
  objects: mountObjects,
  styles: mountStyles,
  files: mountFiles,
  history: mountHistory,
  examples: mountExamples,
  help: mountHelp,
  faithfulness: mountFaithfulness,
  latency: mountLatency,
  keeping: mountKeeping,
};

/** The container of a panel in index.html. @param {string} id @returns {HTMLElement} */
function container(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/** What the server says of its model; asked again until it answers. @returns {Promise<import("./model/types.js").Model>} */
async function untilAnswered() {
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      return await askModel();
    } catch (error) {
      container("messages").textContent = `${error instanceof Error ? error.message : error} Trying again …`;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

async function begin() {
  const model = await untilAnswered();
  container("messages").textContent = "";
  document.title = `gesso · ${model.name}`;
  container("model-name").textContent = model.name;
  const [height, width] = model.size;
  const app = new App(model, emptyDocument(width, height, model.classes, 0, "untitled"));
  Object.assign(window, { gesso: app }); // for scripts and tests
  keepPhotograph(app);
  mountView(container("panes"), app);
  for (const [id, mount] of Object.entries(PANELS)) mount(container(id), app);
  listenToKeys(app);
  container("help-button").addEventListener("click", () => app.emit("command", "help"));
  connectLive(app);
  keepAutosave(app);
  document.documentElement.dataset.ready = "";
}

begin();
