// A strip of what was made, to return to: each photograph with the layout behind it.

import { States } from "../model/states.js";
import { liveOf } from "../net/live.js";
import { iconButton, make } from "./elements.js";
import { seenSmall } from "./pictures.js";

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
  /** `state` is the number of the layout in `states`. @type {{state: number, item: HTMLElement, print: number}[]} */
  const kept = [];
  const states = new States();
  /** The items of documents that are, or were, in the editor. @type {WeakMap<Document, HTMLElement>} */
  const known = new WeakMap();
  let count = 0;

  const keep = () => {
    const { picture, document } = app;
    if (!picture || app.empty || !liveOf(app)?.settled) return;
    const print = fingerprint(picture.bytes);
    const mine = known.get(document); // looked up here: what a function names would live as long as the item's buttons
    const same = kept.findLast(({ item, print: its }) => item === mine || its === print);
    if (same) {
      known.set(document, same.item);
      return mark();
    }
    const [item, state] = [make("li", {}), states.keep(document)];
    known.set(document, item);
    item.append(...entry(seenSmall(app, SIDE), ++count, (what) => back(item, state, what), () => drop(item)));
    kept.push({ state, item, print });
    list.append(item);
    if (kept.length > MOST) drop(kept[0].item);
    hint.hidden = true;
    mark();
    list.scrollLeft = list.scrollWidth;
  };
  /** @param {HTMLElement} item @param {number} state @param {string} what */
  const back = (item, state, what) => {
    if (known.get(app.document) === item) return;
    const document = states.get(state);
    known.set(document, item);
    app.replaceDocument(document, { keepHistory: true, what });
  };
  /** @param {HTMLElement} item */
  const drop = (item) => {
    kept.splice(kept.findIndex((one) => one.item === item), 1);
    item.remove();
    if (kept.length) states.forgetBefore(kept[0].state);
    hint.hidden = kept.length > 0;
  };
  const mark = () => {
    for (const { item } of kept) item.toggleAttribute("data-current", item === known.get(app.document));
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

/** @param {HTMLCanvasElement} picture @param {number} number @param {(what: string) => void} back @param {() => void} drop */
function entry(picture, number, back, drop) {
  const what = `Return to photograph ${number}`;
  picture.setAttribute("aria-hidden", "true");
  return [
    make("button", { type: "button", class: "thumb", "aria-label": what, title: "Return to this", on: { click: () => back(what) } }, picture),
    iconButton("close", `Forget photograph ${number}`, drop, { class: "icon forget" }),
  ];
}

/** A number that tells pictures apart (FNV-1a, of every few bytes of long files). @param {Uint8Array} bytes */
function fingerprint(bytes) {
  const step = Math.max(1, Math.floor(bytes.length / 200_000));
  let hash = 0x811c9dc5 ^ bytes.length;
  for (let place = 0; place < bytes.length; place += step) hash = Math.imul(hash ^ bytes[place], 0x01000193);
  return hash >>> 0;
}
