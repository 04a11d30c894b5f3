// The modes of a class as pictures: the selected object wearing each of them, rendered when it can be seen, kept while it is true.

import { changedRect } from "../model/document.js";
import { box, hull, shared } from "../model/masks.js";
import * as api from "../net/api.js";
import { liveOf } from "../net/live.js";
import { flat } from "../view/layout_bitmap.js";
import { drawn, make, press } from "./elements.js";
import { chosen, choose } from "./style_target.js";

/** @import { App } from "../app.js" */
/** @import { Document, Rect } from "../model/types.js" */
/** @import { Target } from "./style_target.js" */
/** Pictures by mode, and where the layout changed since they were made. @typedef {{changed: Rect|null, pictures: Map<number, string>}} Kept */

const MARGIN = 48; // pixels around an object, within which a change makes its pictures untrue
const MOST_KEPT = 60; // strips
const MOST_CHANGED = 0.25; // of the picture, up to which a whole class still looks as it did
const SMALL = 96; // pixels of the longer side that a picture in the strip needs at most
const CALM = 150; // ms without a change before the strip is rendered, and between looks whether the photograph has come

export class Strip {
  /** @type {Map<string, Kept>} */
  #kept = new Map();
  /** @type {AbortController} */
  #working = new AbortController();
  /** @type {Map<number, HTMLButtonElement>} */
  #tiles = new Map();
  #title = "";
  /** What was shown last: the only document that is held on to. @type {Document|null} */
  #seen = null;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.element = make("div", { class: "strip", role: "group" });
  }

  /** Show a target's modes. @param {Target} target */
  show(target) {
    const title = `${target.index}:${target.objects.map(({ key }) => key)}`;
    this.#working.abort();
    if (title !== this.#title) this.#build(target);
    this.#title = title;
    const choice = chosen(this.app, target);
    for (const [mode, tile] of this.#tiles) press(tile, mode === -1 ? choice === null : choice === mode);
    for (const [mode, tile] of this.#tiles) {
      if (mode >= 0) tile.onclick = () => choose(this.app, target, mode, `style ${mode}`);
      else tile.onclick = () => choose(this.app, target, null, "style by chance");
    }
    this.#render(target);
  }

  /** @param {Target} target */
  #build(target) {
    const count = this.app.model.modes[target.name] ?? 0;
    this.element.setAttribute("aria-label", `Styles of ${target.name}`);
    const chance = make("button", { type: "button", class: "thumb chance", title: "Leave it to chance" }, drawn("dice"), "Chance");
    const tiles = Array.from({ length: count }, (_, mode) => make("button", {
      type: "button", class: "thumb waiting", "aria-label": `Style ${mode} of ${target.name}`, title: `Style ${mode}`,
    }, make("img", { alt: "" }), make("span", { class: "number" }, String(mode))));
    this.#tiles = new Map([[-1, chance], ...tiles.map((tile, mode) => /** @type {const} */ ([mode, tile]))]);
    this.element.replaceChildren(chance, ...tiles);
  }

  /** Render what is missing, one picture after the other; given up as soon as something changes. @param {Target} target */
  async #render(target) {
    this.#working = new AbortController();
    const { signal } = this.#working;
    const { app } = this;
    const { document } = app;
    const kept = this.#truth(target);
    for (const [mode, tile] of this.#tiles) if (mode >= 0) paint(tile, kept.pictures.get(mode));
    const missing = [...this.#tiles].filter(([mode]) => mode >= 0 && !kept.pictures.has(mode));
    if (!missing.length || !sees(document, target)) return;
    await pause();
    try {
      for (const [mode, tile] of missing) {
        await photographed(app, signal);
        if (signal.aborted || app.document !== document) return; // it is shown anew with the next frame
        const scene = { document, model: app.model };
        const picture = await api.mode(scene, { ...whatOf(target), mode, scale: scaleOf(document, target) }, signal);
        kept.pictures.set(mode, URL.createObjectURL(picture));
        if (!signal.aborted) paint(tile, kept.pictures.get(mode));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof api.Refused) app.say(error.message, { kind: "error" });
    }
  }

  /** Note of all pictures that are kept where the layout changed meanwhile. */
  #follow() {
    const { document } = this.app;
    const changed = this.#seen && changedRect(this.#seen, document);
    this.#seen = document;
    if (changed) for (const kept of this.#kept.values()) kept.changed = hull(kept.changed, changed);
  }

  /** The pictures of a target that are still true. @param {Target} target @returns {Kept} */
  #truth(target) {
    this.#follow();
    const { document } = this.app;
    const { seed } = document.styles;
    const key = `${target.index}:${target.objects[0]?.key ?? ""}:${seed}`;
    const found = this.#kept.get(key);
    if (found) {
      if (stillTrue(found.changed, document, target)) return found;
      this.#forget(key);
    }
    /** @type {Kept} */
    const fresh = { changed: null, pictures: new Map() };
    this.#kept.set(key, fresh);
    if (this.#kept.size > MOST_KEPT) this.#forget([...this.#kept.keys()][0]);
    return fresh;
  }

  /** @param {string} key */
  #forget(key) {
    for (const picture of this.#kept.get(key)?.pictures.values() ?? []) URL.revokeObjectURL(picture);
    this.#kept.delete(key);
  }
}

/**
 * Whether pictures made of an earlier document are good still: what changed is not near the object, or little of the whole.
 * @param {Rect|null} changed @param {Document} document @param {Target} target
 */
function stillTrue(changed, { width, height }, target) {
  if (!changed) return true;
  if (!target.objects.length) return changed.width * changed.height <= MOST_CHANGED * width * height;
  return shared(changed, around(target)) === null;
}

/** Wait until the photograph is there: pictures in the strip come after it. @param {App} app @param {AbortSignal} signal */
async function photographed(app, signal) {
  while (!signal.aborted && !liveOf(app)?.settled) await pause();
}

const pause = () => new Promise((resolve) => setTimeout(resolve, CALM));

/** @param {HTMLButtonElement} tile @param {string|undefined} picture */
function paint(tile, picture) {
  tile.classList.toggle("waiting", !picture);
  const image = /** @type {HTMLImageElement} */ (tile.querySelector("img"));
  if (picture) image.src = picture;
}

/** How the server calls a target. @param {Target} target */
const whatOf = ({ name, objects }) => ({ class: name, id: objects[0]?.writtenId });

/** Where an object's pictures look at. @param {Target} target @returns {Rect} */
function around({ objects }) {
  const { x, y, width: wide, height: high } = box(objects[0].mask);
  return { x: x - MARGIN, y: y - MARGIN, width: wide + 2 * MARGIN, height: high + 2 * MARGIN };
}

/** Whether anything of a target can be seen in the layout. @param {Document} document @param {Target} target */
export function sees(document, { objects: [object], index }) {
  const { label, top } = flat(document);
  return object ? top.includes(object.key) : label.includes(index);
}

/** The smallest scale at which an object is still large enough for the strip. @param {Document} document @param {Target} target */
function scaleOf({ width, height }, { objects: [object] }) {
  const side = object ? Math.max(object.mask.width, object.mask.height) : Math.max(width, height) / 2;
  return [0.25, 0.5].find((scale) => scale * side >= SMALL) ?? 1;
}
