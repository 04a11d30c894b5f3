// The classes of the model as materials: swatches of what it makes of them, search, those used last, number keys.

import { ask } from "../net/api.js";
import { css, make } from "../view/dom.js";

/** @import { App } from "../app.js" */
/** @import { Class } from "../model/types.js" */

const RECENT = 5;
const FIRST_WAIT = 700; // ms until the server is asked again whether the swatches are ready
const LONGEST_WAIT = 8000;
const NO_PAINT = new Set(["select", "eraser", "eyedropper", "pan"]);

/** @param {HTMLElement} container @param {App} app */
export function mountPalette(container, app) {
  new Palette(container, app);
}

class Palette {
  /** Class indices, the last used first. @type {number[]} */
  #recent = [];
  /** The rows that are seen, in the order of the number keys. @type {HTMLButtonElement[]} */
  #rows = [];
  /** Buttons of those used last, by class index. @type {Map<number, HTMLButtonElement>} */
  #buttons = new Map();
  #chosen = -1;
  /** Pictures of classes, by index. @type {Record<string, string>} */
  #swatches = {};

  /** @param {HTMLElement} container @param {App} app */
  constructor(container, app) {
    this.app = app;
    const said = { placeholder: "Search materials", "aria-label": "Search materials", title: "Search (/ or Ctrl+F)" };
    this.search = make("input", { type: "search", autocomplete: "off", ...said });
    this.recent = make("div", { className: "recent", role: "group", "aria-label": "Used last" });
    this.list = make("div", { className: "materials", role: "radiogroup", "aria-label": "Material" });
    container.append(make("header", {}, this.search), this.recent, this.list);
    this.search.addEventListener("input", () => this.#fill());
    this.search.addEventListener("keydown", (event) => this.#searchKey(event));
    this.list.addEventListener("keydown", (event) => this.#listKey(event));
    app.on("tool", () => this.#show());
    app.on("command", (name) => this.#command(name));
    this.#fill();
    this.#askSwatches();
  }

  get #classes() {
    const { classes, ignored } = this.app.model;
    return ignored ? [...classes, this.app.classOf(classes.length)] : classes;
  }

  /** The rows of what the search finds: surroundings first, then what is countable. */
  #fill() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = this.#classes.filter(({ name }) => name.toLowerCase().includes(wanted));
    const { length } = this.app.model.classes;
    /** @type {[string, (member: Class) => boolean][]} */
    const groups = [
      ["Surroundings", ({ thing, index }) => !thing && index < length],
      ["Objects", ({ thing }) => thing],
      ["Left open", ({ index }) => index === length],
    ];
    const held = this.list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.index : "";
    this.#rows = [];
    this.#buttons.clear();
    const parts = groups.flatMap(([title, belongs]) => {
      const members = found.filter(belongs);
      return members.length ? [make("h3", {}, title), ...members.map((member) => this.#row(member))] : [];
    });
    this.list.replaceChildren(...(parts.length ? parts : [make("p", { className: "muted" }, "No material of that name.")]));
    this.#rows.find((row) => row.dataset.index === held)?.focus({ preventScroll: true });
    this.#chosen = -1;
    this.#show();
  }

  /** @param {Class} member */
  #row(member) {
    const number = this.#rows.length + 1;
    const key = number <= 9 ? String(number) : number <= 18 ? `Shift+${number - 9}` : "";
    const cap = key ? make("kbd", { "aria-hidden": "true" }, key.replace("Shift+", "⇧")) : null;
    const parts = [this.#swatch(member), make("span", {}, member.name), cap];
    const row = make("button", { type: "button", className: "material", role: "radio" }, ...parts);
    row.dataset.index = String(member.index);
    row.title = key ? `${member.name} (${key})` : member.name;
    row.addEventListener("click", () => this.choose(member.index));
    this.#rows.push(row);
    return row;
  }

  /** @param {Class} member */
  #swatch({ index, colour }) {
    const ignored = index === this.app.model.classes.length;
    const swatch = make("span", { className: ignored ? "swatch ignored" : "swatch", "aria-hidden": "true" });
    if (ignored) return swatch;
    const strip = make("i");
    strip.style.backgroundColor = css(colour);
    swatch.style.backgroundColor = css(colour);
    if (this.#swatches[index]) swatch.style.backgroundImage = `url("${this.#swatches[index]}")`;
    swatch.append(strip);
    return swatch;
  }

  /** A material is taken up to paint: tools that do not paint give way to the brush. @param {number} classIndex */
  choose(classIndex) {
    const name = NO_PAINT.has(this.app.tool.name) ? "brush" : this.app.tool.name;
    this.app.setTool({ classIndex, name });
  }

  #show() {
    const { classIndex } = this.app.tool;
    if (classIndex === this.#chosen) return; // another size or tool
    this.#chosen = classIndex;
    this.#recent = [classIndex, ...this.#recent.filter((other) => other !== classIndex)].slice(0, RECENT + 1);
    const chosen = this.#rows.find((row) => row.dataset.index === String(classIndex));
    for (const row of this.#rows) {
      row.setAttribute("aria-checked", String(row === chosen));
      row.tabIndex = row === (chosen ?? this.#rows[0]) ? 0 : -1;
    }
    chosen?.scrollIntoView({ block: "nearest" });
    this.#showRecent();
  }

  /** The one that has the focus keeps it, wherever it goes. */
  #showRecent() {
    const indices = this.#recent.slice(0, RECENT);
    const held = [...this.recent.children].indexOf(/** @type {Element} */ (document.activeElement));
    const focused = held < 0 ? "" : /** @type {HTMLElement} */ (document.activeElement).dataset.index;
    const buttons = indices.map((index) => this.#recentButton(index));
    this.recent.replaceChildren(...buttons);
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.index === String(this.#chosen)));
      if (button.dataset.index === focused) button.focus({ preventScroll: true });
    }
  }

  /** @param {number} index */
  #recentButton(index) {
    const known = this.#buttons.get(index);
    if (known) return known;
    const member = this.app.classOf(index);
    const button = make("button", { type: "button", title: member.name, "aria-label": member.name }, this.#swatch(member));
    button.dataset.index = String(index);
    button.addEventListener("click", () => this.choose(index));
    this.#buttons.set(index, button);
    return button;
  }

  /** @param {string} name */
  #command(name) {
    if (name === "search") {
      this.search.focus();
      this.search.select();
    } else if (name === "material-before" && this.#recent.length > 1) this.choose(this.#recent[1]);
    else if (name.startsWith("material-")) this.#rows[Number(name.slice("material-".length)) - 1]?.click();
  }

  /** @param {KeyboardEvent} event */
  #searchKey(event) {
    if (event.key === "Enter") this.#rows[0]?.click();
    else if (event.key === "ArrowDown") this.#rows[0]?.focus();
    else if (event.key !== "Escape") return;
    event.preventDefault();
    if (event.key === "ArrowDown") return;
    this.search.value = "";
    this.#fill();
    this.search.blur();
  }

  /** @param {KeyboardEvent} event */
  #listKey(event) {
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const now = this.#rows.findIndex((row) => row === document.activeElement);
    if (!(event.key in steps) || now < 0) return;
    event.preventDefault();
    const { length } = this.#rows;
    const next = this.#rows[(now + steps[/** @type {keyof typeof steps} */ (event.key)] + length) % length];
    next.focus();
    next.click();
  }

  /** Swatches are made while the page is used: ask until they are there. */
  async #askSwatches() {
    for (let wait = FIRST_WAIT; ; wait = Math.min(1.5 * wait, LONGEST_WAIT)) {
      try {
        const { ready, swatches } = await (await ask("swatches")).json();
        if (Object.keys(swatches).length > Object.keys(this.#swatches).length) {
          this.#swatches = swatches;
          const top = this.list.scrollTop;
          this.#fill();
          this.list.scrollTop = top;
        }
        if (ready) return;
      } catch {
        // the connection says so; swatches can wait
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
