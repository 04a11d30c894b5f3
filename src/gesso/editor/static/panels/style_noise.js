// Models of pix2pix: chance is all there is, as dropout and noise.

import { setNoise } from "../model/edits.js";
import { make } from "./elements.js";
import { seedRow } from "./seed.js";

/** @import { App } from "../app.js" */

/** @param {HTMLElement} container @param {App} app */
export function mountNoise(container, app) {
  const box = make("input", { type: "checkbox", id: "noise" });
  box.addEventListener("change", () => app.apply(box.checked ? "Noise on" : "Noise off", (document) => setNoise(document, box.checked)));
  const show = () => {
    box.checked = app.document.styles.noise !== false;
  };
  app.on("document", show);
  show();
  container.append(
    make("p", { class: "hint" }, "This model varies by chance alone: another seed gives another photograph of the same layout."),
    seedRow(app, "Vary"),
    make("label", { class: "check" }, box, "Noise, as in training"),
  );
}
