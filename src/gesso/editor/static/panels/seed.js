// The seed of everything that a style leaves to chance, and drawing all of it anew.

import { setSeed } from "../model/edits.js";
import { randomise } from "../model/styles.js";
import { drawn, labelled, make } from "./elements.js";

/** @import { App } from "../app.js" */

const LARGEST = 2 ** 31 - 1;

/**
 * A field for the seed, and a button that draws another one. Pinned objects keep what they wear.
 * @param {App} app @param {string} words on the button
 */
export function seedRow(app, words) {
  const field = make("input", { type: "number", min: 0, max: LARGEST, step: 1, class: "seed" });
  field.addEventListener("change", () => {
    const seed = Math.min(LARGEST, Math.max(0, Math.round(field.valueAsNumber || 0)));
    field.value = String(seed);
    app.apply(`Seed ${seed}`, (document) => setSeed(document, seed));
  });
  const dice = make("button", { type: "button", title: `${words} (S)`, on: { click: () => randomiseAll(app) } }, drawn("dice"), words);
  const show = () => {
    field.value = String(app.document.styles.seed);
  };
  app.on("document", show);
  show();
  return make("div", { class: "row" }, dice, labelled("Seed", field));
}

/** Draw all styles anew, but for pinned ones. @param {App} app */
export const randomiseAll = (app) => app.apply("Draw all styles anew", (document) => randomise(document, freshSeed()));

/** A seed that people can remember. */
export const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 10_000;
