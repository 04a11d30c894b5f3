// The objects of the layout, front to back: to select, order, lock, hide and change.

import { flat } from "../view/layout_bitmap.js";
import { iconButton, make, pixels, press } from "./elements.js";
import { mountLibrary } from "./library.js";
import { selectOf, toggleSeveral } from "../tools/select.js";
import { hide, lock, nameOf } from "./object_edits.js";
import { mountObjectTools } from "./object_tools.js";

/** @import { App } from "../app.js" */
/** @import { Document, Obj } from "../model/types.js" */

/** @param {HTMLElement} container @param {App} app */
export function mountObjects(container, app) {
  const list = make("ul", { class: "objects" });
  const count = make("span", { class: "muted" });
  const empty = make("p", { class: "hint" }, "No objects yet. Paint a countable material, such as a car, with New object on; "
    + "or add one from the library.");
  const header = make("header", { class: "panel-head" }, make("h2", {}, "Objects"), count);
  const several = iconButton("several", "Select several", () => toggleSeveral(app), { "aria-pressed": false });
  header.append(several);
  mountLibrary(header, app);
  const tools = make("div", { class: "object-tools" });
  mountObjectTools(tools, app);
  container.append(header, tools, empty, list);

  /** @type {Map<number, Row>} */
  const rows = new Map();
  let waiting = false;
  const show = () => {
    waiting = false;
    const { objects } = app.document;
    const seen = visible(app.document);
    for (const [key, row] of rows) if (!objects.some((object) => object.key === key)) drop(rows, key, row);
    const shown = [...objects].reverse().map((object) => {
      const row = rows.get(object.key) ?? new Row(app, object.key);
      rows.set(object.key, row);
      row.show(object, seen.get(object.key) ?? 0);
      return row.element;
    });
    arrange(list, shown);
    empty.hidden = objects.length > 0;
    count.textContent = objects.length ? String(objects.length) : "";
  };
  const soon = () => {
    if (!waiting) requestAnimationFrame(show);
    waiting = true;
  };
  app.on("document", soon);
  app.on("tool", () => press(several, selectOf(app)?.several ?? false));
  app.on("selection", () => {
    for (const row of rows.values()) row.mark();
    const last = [...app.selection].at(-1);
    if (last !== undefined) rows.get(last)?.element.scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("keydown", (event) => step(list, event));
  soon();
}

/** @param {Map<number, Row>} rows @param {number} key @param {Row} row */
function drop(rows, key, row) {
  row.element.remove();
  rows.delete(key);
}

/** Put elements in this order, touching only those that stand elsewhere (focus stays). @param {Element} list @param {Element[]} wanted */
function arrange(list, wanted) {
  wanted.forEach((element, place) => {
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
  });
}

/** How many pixels of each object are seen. @param {Document} document */
function visible(document) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  const { top } = flat(document);
  let [key, run] = [0, 0];
  for (let place = 0; place < top.length; place += 1) {
    if (top[place] !== key) {
      counts.set(key, (counts.get(key) ?? 0) + run);
      [key, run] = [top[place], 0];
    }
    run += 1;
  }
  return counts.set(key, (counts.get(key) ?? 0) + run);
}

/** Up and down go from object to object. @param {HTMLElement} list @param {KeyboardEvent} event */
function step(list, event) {
  const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const names = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".object-name")]);
  const place = names.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  if (!by || place < 0) return;
  event.preventDefault();
  event.stopPropagation(); // these arrows are not for moving objects
  names[place + by]?.focus();
}

class Row {
  /** @param {App} app @param {number} key */
  constructor(app, key) {
    this.app = app;
    this.key = key;
    /** @type {Obj|null} */
    this.object = null;
    this.swatch = make("i", { class: "dot" });
    this.text = make("span");
    this.size = make("span", { class: "muted" });
    this.name = make("button", { type: "button", class: "object-name", on: { click: (event) => this.#select(event) } });
    this.name.append(this.swatch, this.text, this.size);
    this.locks = make("span", { class: "object-marks" });
    this.element = make("li", {}, this.name, this.locks);
  }

  /** @param {Obj} object @param {number} seen pixels */
  show(object, seen) {
    const before = this.object;
    this.object = object;
    const colour = this.app.classOf(object.class).colour;
    this.swatch.style.backgroundColor = `rgb(${colour.join(" ")})`;
    this.text.textContent = nameOf(this.app, object);
    this.size.textContent = object.hidden ? "hidden" : seen ? pixels(seen) : "covered";
    if (before?.locked !== object.locked || before?.hidden !== object.hidden || before.class !== object.class) this.#buttons(object);
    this.element.classList.toggle("is-hidden", object.hidden);
    this.mark();
  }

  mark() {
    press(this.name, this.app.selection.has(this.key));
  }

  /** @param {Obj} object */
  #buttons({ locked, hidden }) {
    const { app, key } = this;
    const focused = [...this.locks.children].indexOf(/** @type {Element} */ (document.activeElement));
    const name = this.text.textContent;
    this.locks.replaceChildren(
      iconButton(hidden ? "hidden" : "eye", `${hidden ? "Show" : "Hide"} ${name}`, () => hide(app, [key], !hidden), { "aria-pressed": hidden }),
      iconButton(locked ? "lock" : "unlock", `${locked ? "Unlock" : "Lock"} ${name}`, () => lock(app, [key], !locked), { "aria-pressed": locked }),
    );
    /** @type {HTMLElement|undefined} */ (this.locks.children[focused])?.focus();
  }

  /** @param {MouseEvent} event */
  #select(event) {
    const { app, key } = this;
    const keys = [...app.selection];
    if (event.ctrlKey || event.metaKey || (selectOf(app)?.several && !event.shiftKey)) {
      app.select(app.selection.has(key) ? keys.filter((other) => other !== key) : [...keys, key]);
    } else if (event.shiftKey && keys.length) {
      app.select([...between(app.document, /** @type {number} */ (keys.at(-1)), key)]);
    } else {
      app.select(keys.length === 1 && keys[0] === key ? [] : [key]);
    }
  }
}

/** Keys of the objects from one to another. @param {Document} document @param {number} from @param {number} to */
function between({ objects }, from, to) {
  const keys = objects.map(({ key }) => key);
  const [first, last] = [keys.indexOf(from), keys.indexOf(to)].sort((one, other) => one - other);
  return keys.slice(Math.max(0, first), last + 1);
}
