// Where a segmenter does not find in the photograph what the layout says: laid over it, and counted by class.

import { decode, fromBase64 } from "../model/png.js";
import * as api from "../net/api.js";
import { liveOf } from "../net/live.js";
import { Menu } from "./menu.js";
import { button, make, press } from "./elements.js";
import { canvasOf } from "./pictures.js";

/** @import { App } from "../app.js" */
/** @import { Document } from "../model/types.js" */
/** @typedef {{name: string, agreement: number|null, pixels: number}} Row */

const COLOUR = [255, 60, 60, 170]; // red, green, blue, opacity

/** @param {HTMLElement} container @param {App} app */
export function mountFaithfulness(container, app) {
  if (!app.model.faithfulness) return;
  let on = false;
  /** What was compared, or is being: nothing while another picture is made. @type {Document|null} */
  let compared = null;
  let asking = new AbortController();
  const toggle = button("Faithfulness", () => turn(!on), { "aria-pressed": "false",
    title: "Show where a segmenter does not see in the photograph what the layout says (F)" });
  const total = button("", () => menu.toggle(), { class: "total", title: "By class" });
  const table = make("div", { class: "menu faithful" });
  const menu = new Menu(total, table);
  container.append(toggle, total, table);
  total.hidden = true;

  const clear = () => {
    compared = null;
    asking.abort();
    app.view.overlay(null);
    total.hidden = true;
    menu.close(false);
  };
  /** @param {boolean} now */
  const turn = (now) => {
    on = now;
    press(toggle, on);
    clear();
    follow();
  };
  const follow = () => {
    if (!on) return;
    const truth = app.shown === app.document && liveOf(app)?.settled ? app.document : null;
    if (truth === compared) return; // an edit that changed nothing, or a stroke that was given up
    clear();
    if (truth) compare(truth);
  };
  /** @param {Document} document the one whose photograph is seen */
  const compare = async (document) => {
    compared = document;
    asking = new AbortController();
    const { signal } = asking;
    try {
      const found = await api.disagreement({ document, model: app.model }, signal);
      const overlay = await tinted(found.mask);
      if (signal.aborted) return;
      app.view.overlay(overlay);
      total.hidden = false;
      total.textContent = percent(found.total);
      table.replaceChildren(rows(found.classes, app.model.segmenter));
    } catch (error) {
      if (signal.aborted) return;
      app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
      turn(false);
    }
  };
  app.on("picture", follow);
  app.on("preview", follow);
  app.on("document", follow);
  app.on("command", (name) => name === "faithfulness" && turn(!on));
}

/** A mask as a picture in one colour. @param {string} url @returns {Promise<HTMLCanvasElement>} */
async function tinted(url) {
  const { width, height, channels, data } = await decode(fromBase64(url.slice(url.indexOf(",") + 1)));
  const pixels = new Uint8ClampedArray(4 * width * height);
  for (let place = 0; place < width * height; place += 1) if (data[place * channels]) pixels.set(COLOUR, 4 * place);
  const canvas = canvasOf(width, height);
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** @param {number|null} share */
const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);

/** @param {Row[]} classes @param {string|null} segmenter */
function rows(classes, segmenter) {
  const there = classes.filter(({ pixels }) => pixels > 0).sort((one, other) => (one.agreement ?? 0) - (other.agreement ?? 0));
  const head = make("tr", {}, make("th", { scope: "col" }, "Material"), make("th", { scope: "col" }, "Agrees"), make("th", { scope: "col" }, "Pixels"));
  const body = there.map(({ name, agreement, pixels }) => make("tr", {},
    make("th", { scope: "row" }, name), make("td", {}, percent(agreement)), make("td", {}, pixels.toLocaleString("en"))));
  return make("div", {},
    make("table", {}, make("caption", {}, `Pixels where the segmenter agrees${segmenter ? ` (${segmenter})` : ""}`), make("thead", {}, head), make("tbody", {}, ...body)));
}
