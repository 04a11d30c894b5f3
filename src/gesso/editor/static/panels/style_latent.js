// Models of SPADE: one style for the whole picture, by seed, from a style image, or between two of them.

import { setSeed, setZ } from "../model/edits.js";
import * as api from "../net/api.js";
import { onDropOf } from "./dropping.js";
import { button, labelled, make, slider } from "./elements.js";
import { chooseFile } from "./file_choice.js";
import { perform } from "./object_edits.js";
import { reduced } from "./pictures.js";
import { seedRow } from "./seed.js";

/** @import { App } from "../app.js" */
/** @import { Document } from "../model/types.js" */

const SEEDS = 200; // on the slider; the field takes any
const THUMBNAIL = 96;

/** One end of the blend. @typedef {{name: string, z: number[]|null, box: HTMLElement, present: HTMLButtonElement, image: HTMLButtonElement}} End */

/** @param {HTMLElement} container @param {App} app */
export function mountLatent(container, app) {
  const what = make("p", { class: "hint" });
  const seeds = slider({ min: 0, max: SEEDS, step: 1, value: 0 }, {
    input: (seed) => app.preview(seeded(app.document, seed)),
    change: (seed) => app.apply(`Style of seed ${seed}`, (document) => seeded(document, seed)),
  }, { class: "wide" });
  const image = button("Style image …", () => chooseFile("image/*", (file) => wearImage(app, file)), {
    title: "Wear the style of a photograph: choose it here, or drop it on this panel",
  });
  image.hidden = !app.model.encoder;
  const show = () => {
    const { z, seed } = app.document.styles;
    what.textContent = z ? "It wears a style of its own." : "It wears the style of the seed.";
    if (seed <= SEEDS) seeds.value = String(seed);
  };
  app.on("document", show);
  show();
  container.append(seedRow(app, "Randomise"), labelled("Seeds", seeds), make("div", { class: "row" }, image, what), blend(app));
  if (app.model.encoder) onDropOf(container, "Wear the style of this photograph", (file) => wearImage(app, file));
}

/** A document in the style of a seed. @param {Document} document @param {number} seed */
const seeded = (document, seed) => setZ(setSeed(document, seed), null);

/** The style of a photograph, for the present layout. @param {App} app @param {File} file @returns {Promise<number[]|null>} */
async function styleOfImage(app, file) {
  try {
    const { z } = await api.encodeStyle({ document: app.document, model: app.model }, file);
    return z ?? null;
  } catch (error) {
    app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
    return null;
  }
}

/** @param {App} app @param {File} file */
async function wearImage(app, file) {
  const z = await styleOfImage(app, file);
  if (z) perform(app, `Style of ${file.name}`, (document) => ({ document: setZ(document, z) }));
}

/** Between two styles. @param {App} app */
function blend(app) {
  const ends = ["A", "B"].map((name) => end(app, name, () => ready()));
  let asking = new AbortController();
  /** @param {number} t @returns {Promise<Document|null>} */
  const between = async (t) => {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const { document, model } = app;
    try {
      const { z } = await api.interpolate({ document, model }, { z: ends[0].z }, { z: ends[1].z }, t, signal);
      return signal.aborted || app.document !== document ? null : setZ(document, z);
    } catch (error) {
      if (signal.aborted) return null;
      app.preview(null);
      app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
      return null;
    }
  };
  const mix = slider({ min: 0, max: 1, step: 0.02, value: 0.5 }, {
    input: async (t) => {
      const document = await between(t);
      if (document) app.preview(document); // a later place of the slider, or another edit, has its own
    },
    change: async (t) => {
      const document = await between(t);
      if (document) app.apply(`Between A and B: ${Math.round(100 * t)} %`, () => document);
    },
  }, { "aria-label": "Between style A and style B", class: "wide" });
  const ready = () => {
    mix.disabled = ends.some(({ z }) => z === null);
  };
  ready();
  return make("fieldset", { class: "blend" }, make("legend", {}, "Between two styles"),
    make("div", { class: "ends" }, ...ends.map(({ box }) => box)), mix);
}

/** @param {App} app @param {string} name @param {() => void} changed @returns {End} */
function end(app, name, changed) {
  const picture = make("span", { class: "end-picture" });
  /** @param {number[]|null} z @param {HTMLElement} seen */
  const take = (z, seen) => {
    if (!z) return;
    made.z = z;
    picture.replaceChildren(seen);
    changed();
  };
  const present = button("Present", async () => {
    const bitmap = app.picture?.bitmap;
    const seen = bitmap ? reduced(bitmap, THUMBNAIL) : make("span");
    try {
      take((await api.wornStyles({ document: app.document, model: app.model })).z, seen);
    } catch (error) {
      app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
    }
  }, { class: "small", "aria-label": `${name}: take the present style`, title: "Take the style that is worn now" });
  /** @param {File} file */
  const fromFile = async (file) => {
    const z = await styleOfImage(app, file);
    if (!z) return; // and what the server refused is not decoded here
    const bitmap = await createImageBitmap(file).catch(() => null);
    take(z, bitmap ? reduced(bitmap, THUMBNAIL) : make("span"));
  };
  const image = button("Image", () => chooseFile("image/*", fromFile), {
    class: "small", "aria-label": `${name}: take the style of a photograph`, title: "Take the style of a photograph",
  });
  image.hidden = !app.model.encoder;
  const box = make("div", { class: "end" }, make("b", {}, name), picture, make("span", { class: "end-buttons" }, present, image));
  /** @type {End} */
  const made = { name, z: null, box, present, image };
  if (app.model.encoder) onDropOf(box, `Style ${name}`, fromFile);
  return made;
}
