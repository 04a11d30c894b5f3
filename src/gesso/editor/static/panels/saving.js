// Saving what was made: the photograph with its record, the maps, and the whole project.

import { toWire } from "../model/document.js";
import { encodeGray16, encodeGray8, encodeRGB, encodeRGBA32 } from "../model/png.js";
import * as api from "../net/api.js";
import { liveOf } from "../net/live.js";
import { flat } from "../view/layout_bitmap.js";
import { attempt } from "./opening.js";
import { colours, download, fileName } from "./pictures.js";

/** @import { App } from "../app.js" */

/** What is to be saved, and what is to be said of it. @typedef {{blob: Blob, said: string}} Made */

/** @param {App} app @param {string} ending @param {() => Promise<Blob|Made|null>} make null: there is nothing, and why was said */
function save(app, ending, make) {
  return attempt(app, "Saving …", async () => {
    const name = fileName(app.document.name, ending);
    const made = await make();
    if (!made) return;
    const { blob, said } = made instanceof Blob ? { blob: made, said: "" } : made;
    download(blob, name);
    app.say(`Saved as ${name}${said}.`);
  });
}

/** The photograph in full, with the record of how it was made: the model's, or the one that is kept. @param {App} app */
export const savePhotograph = (app) => save(app, app.keeping?.active ? "-retouched.png" : ".png", async () => {
  if (!app.keeping?.active) return (await api.render({ document: app.document, model: app.model }, 1)).blob;
  const { blob, touched } = await app.keeping.saved();
  const share = `${Number((100 * touched).toPrecision(2))} % of your photograph were made anew, all else is its own pixels`;
  return { blob, said: touched ? `: ${share}` : ": your photograph as it was, as nothing was changed that is seen" };
});

/** The layout in the values of the dataset's label files. @param {App} app */
export const saveLabels = (app) => save(app, "-labels.png", async () => {
  const { width, height } = app.document;
  const { classes } = app.model;
  const table = Int32Array.from([...classes.map(({ value }) => value), ignoredValue(app)]);
  const { label } = flat(app.document);
  const values = Int32Array.from(label, (index) => table[Math.min(index, classes.length)]);
  const impossible = values.find((value) => value < 0 || value > 65535);
  if (impossible !== undefined) {
    const owner = classes.find(({ value }) => value === impossible)?.name;
    throw new Error(`The label files of this dataset use ${impossible} for ${owner}, which no PNG can hold: give those pixels another material, or save the project.`);
  }
  const wide = values.some((value) => value > 255);
  return api.png(wide ? await encodeGray16(Uint16Array.from(values), width, height) : await encodeGray8(Uint8Array.from(values), width, height));
});

/** What stands for ignored pixels in label files. @param {App} app */
function ignoredValue({ model }) {
  return model.ignoredValue ?? 255;
}

/** The layout in the colours of its classes. @param {App} app */
export const saveColours = (app) => save(app, "-colours.png", async () => {
  const { width, height } = app.document;
  const pixels = colours(app.document);
  const rgb = new Uint8Array(3 * width * height);
  for (let place = 0; place < width * height; place += 1) rgb.set(pixels.subarray(4 * place, 4 * place + 3), 3 * place);
  return api.png(await encodeRGB(rgb, width, height));
});

/** The ids of the objects: 16 bits of gray, or where they do not fit the four bytes of 32 as RGBA. @param {App} app */
export const saveInstances = (app) => save(app, "-instances.png", async () => {
  const { width, height } = app.document;
  const { instance } = flat(app.document);
  const fits = instance.every((id) => id >= 0 && id < 65536);
  return api.png(fits ? await encodeGray16(Uint16Array.from(instance), width, height) : await encodeRGBA32(instance, width, height));
});

/** Everything, in one file that opens again exactly. @param {App} app */
export const saveProject = (app) => save(app, ".zip", async () => {
  const bytes = liveOf(app)?.settled ? app.picture?.bytes : undefined;
  try {
    const { source, original } = app.document;
    const { bytes: most } = app.model.limits;
    const wires = { document: await toWire(app.document), opened: original && await toWire(original) };
    const photograph = app.keeping?.composed?.blob ?? (bytes ? api.png(bytes) : null);
    const { blob, leftOut } = await api.saveProject(wires, { photograph, source }, most);
    return { blob, said: leftOut.length ? without(leftOut, most) : "" };
  } catch (error) {
    if (!(error instanceof api.Unreachable)) throw error;
    offerMaps(app);
    return null;
  }
});

const PARTS = /** @type {const} */ ([
  [["label.png", "instance.png", "colours.png"], "the maps for other programs"],
  [["photograph.png"], "the photograph, which the editor makes again"],
  [["source.png", "source.jpg", "opened.json"], "the photograph that the layout came with, so that styles cannot be taken from it again, nor edits be put into it"],
]);

/** What a project lacks, and why, in words. @param {string[]} names of files @param {number} most bytes of a project */
function without(names, most) {
  const parts = PARTS.filter(([files]) => files.some((file) => names.includes(file))).map(([, words]) => words);
  const mebibytes = Number((most / 2 ** 20).toPrecision(3));
  return `, without ${parts.join(", and without ")}. With all of it the project would be larger than the ${mebibytes} MiB `
    + "up to which it opens again; the layout, its objects and styles are complete";
}

/** What the page can save alone. @param {App} app */
function offerMaps(app) {
  const text = "The project was not saved: the server writes it, and does not answer. Your painting is kept in this browser. "
    + "Its maps can be saved without the server:";
  app.say(text, { kind: "error", actions: [
    { label: "Label map", run: () => saveLabels(app) },
    { label: "Colour map", run: () => saveColours(app) },
    { label: "Instance map", run: () => saveInstances(app) },
  ] });
}
