// The menus for files, and files dropped on the page.

import { onDropAnywhere } from "./dropping.js";
import { make } from "./elements.js";
import { showExamples } from "./examples.js";
import { chooseFile } from "./file_choice.js";
import { menuButton } from "./menu_button.js";
import { KINDS, openAny, openFile } from "./opening.js";
import { saveColours, saveInstances, saveLabels, savePhotograph, saveProject } from "./saving.js";

/** @import { App } from "../app.js" */
/** @import { Kind } from "./opening.js" */

/** @param {HTMLElement} container @param {App} app */
export function mountFiles(container, app) {
  /** @param {Kind} kind */
  const ask = (kind) => chooseFile(KINDS[kind].accept, (file) => openFile(app, kind, file));
  const opening = menuButton("Open", [
    { label: "Example layout …", run: () => showExamples(app) },
    null,
    { label: "Photograph …", hint: "with its layout", run: () => ask("photograph") },
    { label: "Label map …", hint: "ids, palette or colours", run: () => ask("labels") },
    { label: "Instance map …", hint: "objects of this layout", run: () => ask("instances") },
    { label: "Project …", hint: ".zip", run: () => ask("project") },
  ], "Open");
  const saving = menuButton("Save", [
    { label: "Photograph", hint: ".png", run: () => savePhotograph(app) },
    null,
    { label: "Label map", hint: "file values", run: () => saveLabels(app) },
    { label: "Colour map", hint: "class colours", run: () => saveColours(app) },
    { label: "Instance map", hint: "object ids", run: () => saveInstances(app) },
    null,
    { label: "Project", hint: "opens again exactly", run: () => saveProject(app) },
  ], "Save");
  container.append(opening, saving);
  app.on("command", (name) => {
    if (name === "save") saveProject(app);
    if (name === "open") opening.querySelector("button")?.click();
  });
  const overlay = make("div", { class: "drop-anywhere", hidden: true, "aria-hidden": "true" },
    make("p", {}, "Drop a photograph, a label map or a project to open it"));
  document.body.append(overlay);
  onDropAnywhere(overlay, (file) => openAny(app, file));
}
