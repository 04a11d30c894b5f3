// Styles: what the layout leaves open. Which controls there are depends on what the model knows.

import { make } from "./elements.js";
import { randomiseAll } from "./seed.js";
import { mountLatent } from "./style_latent.js";
import { mountModes } from "./style_modes.js";
import { mountNoise } from "./style_noise.js";

/** @import { App } from "../app.js" */

const KINDS = { features: mountModes, z: mountLatent, noise: mountNoise };

/** @param {HTMLElement} container @param {App} app */
export function mountStyles(container, app) {
  const kind = app.model.styleKind;
  container.append(make("header", { class: "panel-head" }, make("h2", {}, "Style")));
  if (kind === null) {
    container.append(make("p", { class: "hint" }, "This model has no styles: the same layout always gives the same photograph."));
    return;
  }
  KINDS[kind](container, app);
  app.on("command", (name) => name === "random" && randomiseAll(app));
}
