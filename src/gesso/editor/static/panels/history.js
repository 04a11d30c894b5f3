// A strip of what was made, to return to: each photograph with the layout behind it.

import { liveOf } from "../net/live.js";
import { iconButton, make } from "./elements.js";
import { reduced } from "./pictures.js";

/** @import { App } from "../app.js" */
/** @import { Document } from "../model/types.js" */

const MOST = 60;
const SIDE = 112; // pixels of a thumbnail's longer side
const PAUSE = 1200; // ms without an edit after which a photograph is worth keeping

/** @param {HTMLElement} container @param {App} app */
export function mountHistory(container, app) {
  const list = make("ol", { class: "history", "aria-label": "Earlier photographs" });
  const hint = make("p", { class: "hint" }, "What you make appears here, to return to.");
  container.append(hint, list);
  /** @type {{document: Document, item: HTMLElement, print: number}[]} */
  const kept = [];

  const keep = () => {
    const { picture, document } = app;
    if (!picture || app.empty || !liveOf(app)?.settled) return;
    const print = fingerprint(picture.bytes);
    const same = kept.findLast((one) => one.document === document || one.print === print);
    if (same) {
      same.document = document;
      return mark();
    }
    const item = make("li", {});
    item.append(...entry(app, document, reduced(picture.bitmap, SIDE), kept.length, () => drop(item)));
    kept.push({ document, item, print });
    list.append(item);
    if (kept.length > MOST) kept.shift()?.item.remove();
    hint.hidden = true;
    mark();
    list.scrollLeft = list.scrollWidth;
  };
  /** @param {HTMLElement} item */
  const drop = (item) => {
    kept.splice(kept.findIndex((one) => one.item === item), 1);
    item.remove();
    hint.hidden = kept.length > 0;
  };
  const mark = () => {
    for (const { document, item } of kept) item.toggleAttribute("data-current", document === app.document);
  };
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(keep, kept.length ? PAUSE : 0);
  };
  app.on("picture", later);
  app.on("document", () => { later(); mark(); });
}

/** @param {App} app @param {Document} document @param {HTMLCanvasElement} picture @param {number} count @param {() => void} drop */
function entry(app, document, picture, count, drop) {
  const name = `Photograph ${count + 1}`;
  const back = make("button", { type: "button", class: "thumb", "aria-label": `Return to ${name.toLowerCase()}`, title: "Return to this", on: {
    click: () => {
      if (document !== app.document) app.replaceDocument(document, { keepHistory: true, what: `Return to ${name.toLowerCase()}` });
    },
  } });
  picture.setAttribute("aria-hidden", "true");
  back.append(picture);
  return [back, iconButton("close", `Forget ${name.toLowerCase()}`, drop, { class: "icon forget" })];
}

/** A number that tells pictures apart (FNV-1a, of every few bytes of long files). @param {Uint8Array} bytes */
function fingerprint(bytes) {
  const step = Math.max(1, Math.floor(bytes.length / 200_000));
  let hash = 0x811c9dc5 ^ bytes.length;
  for (let place = 0; place < bytes.length; place += step) hash = Math.imul(hash ^ bytes[place], 0x01000193);
  return hash >>> 0;
}
