// Objects of the dataset's layouts, to be set down with a click.

import { Refusal } from "../model/document.js";
import { pasteMask } from "../model/edits.js";
import { tight } from "../model/masks.js";
import { decode, fromBase64 } from "../model/png.js";
import * as api from "../net/api.js";
import { button, iconButton, labelled, make } from "./elements.js";
import { Menu } from "./menu.js";
import { perform } from "./object_edits.js";
import { pointing } from "./pointing.js";

/** @import { App } from "../app.js" */
/** @import { Mask, Point } from "../model/types.js" */

/** @typedef {{class: number, width: number, height: number, thumbnail: string}} Item */

/** @param {HTMLElement} header @param {App} app */
export function mountLibrary(header, app) {
  if (!app.model.library) return;
  const panel = make("div", { class: "menu library" }, make("p", { class: "hint", role: "status" }, "Looking through the layouts …"));
  let complete = false;
  const opener = button("Add …", async () => {
    menu.toggle();
    if (complete || !menu.isOpen) return;
    try {
      const { items, ready } = await api.library();
      complete = ready;
      fill(panel, app, items, () => menu.close());
      menu.place();
    } catch (error) {
      menu.close();
      app.say(error instanceof Error ? error.message : String(error), { kind: "error" });
    }
  }, { class: "small", title: "Add an object from the dataset's layouts" });
  const menu = new Menu(opener, panel);
  header.append(opener, panel);
}

/** @param {HTMLElement} panel @param {App} app @param {Item[]} items @param {() => void} close */
function fill(panel, app, items, close) {
  const classes = [...new Set(items.map((item) => item.class))].sort((one, other) => one - other);
  const select = make("select", {}, make("option", { value: "" }, "all"),
    ...classes.map((index) => make("option", { value: index }, app.classOf(index).name)));
  const grid = make("div", { class: "thumbs library-grid" });
  const show = () => grid.replaceChildren(...items.flatMap((item, number) => (
    select.value && Number(select.value) !== item.class ? [] : [thumb(app, item, number, close)])));
  select.addEventListener("change", show);
  panel.replaceChildren(make("div", { class: "row library-head" }, labelled("Material", select),
    iconButton("close", "Close the library", close)), grid);
  show();
  select.focus();
}

/** @param {App} app @param {Item} item @param {number} number @param {() => void} close */
function thumb(app, item, number, close) {
  const name = app.classOf(item.class).name;
  const words = `${name}, ${item.width} × ${item.height} px`;
  const picture = make("img", { src: item.thumbnail, alt: words, loading: "lazy" });
  return make("button", { type: "button", class: "thumb", title: words, on: { click: () => {
    close();
    place(app, item.class, api.libraryItem(number).then(maskOf), name);
  } } }, picture);
}

/** @param {any} wire @returns {Promise<Mask>} */
async function maskOf(wire) {
  const { width, height, data } = await decode(fromBase64(wire.mask));
  const mask = tight(Uint8Array.from(data, (value) => Number(value > 127)), width, height);
  if (!mask) throw new Error("This object of the library has no pixels.");
  return mask;
}

/**
 * Carry an object over the layout until it is set down; its mask may still be on its way.
 * @param {App} app @param {number} index @param {Promise<Mask>} coming @param {string} name
 */
function place(app, index, coming, name) {
  /** @type {Point|null} */
  let wanted = null;
  /** @type {Mask|null} */
  let mask = null;
  coming.then((found) => { mask = found; }, (error) => app.say(error.message, { kind: "error" }));
  const preview = () => {
    const at = wanted;
    wanted = null;
    if (at && mask) app.preview(ghost(app, mask, index, at));
  };
  pointing(app, {
    words: `Click where the ${name} stands (Enter: in the middle).`,
    over: (point) => {
      if (!wanted) requestAnimationFrame(preview);
      wanted = point;
    },
    out: () => {
      wanted = null;
      app.preview(null);
    },
    take: ({ x, y }) => {
      coming.then((found) => perform(app, `Add ${name}`, (document) => {
        const made = pasteMask(document, found, index, x, y);
        return { document: made.document, select: [made.key] };
      }), () => {}); // that it does not come was said
      return true;
    },
    end: () => {
      wanted = null;
      app.preview(null);
    },
  });
}

/** The layout with an object of the library at a place; null where none of it would be in the picture. @param {App} app
 * @param {Mask} mask @param {number} index @param {Point} place */
function ghost(app, mask, index, { x, y }) {
  try {
    return pasteMask(app.document, mask, index, x, y).document;
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}
