// A button that opens a list of things to do.

import { button, make } from "./elements.js";
import { Menu } from "./menu.js";

/** @typedef {{label: string, hint?: string, run: () => void, when?: () => boolean}|null} Entry null is a line */

/** @param {string} text @param {Entry[]} entries @param {string} title */
export function menuButton(text, entries, title) {
  const panel = make("div", { class: "menu", role: "menu", "aria-label": title });
  const opener = button(text, () => menu.toggle(), { title });
  const menu = new Menu(opener, panel);
  const shown = entries.map((entry) => {
    if (!entry) return make("hr");
    const { label, hint, run } = entry;
    return make("button", { type: "button", role: "menuitem", on: { click: () => { menu.close(); run(); } } },
      make("span", {}, label), hint ? make("span", { class: "muted" }, hint) : null);
  });
  panel.append(...shown);
  opener.addEventListener("click", () => entries.forEach((entry, place) => {
    if (entry?.when) shown[place].hidden = !entry.when();
  }), { capture: true });
  return make("span", {}, opener, panel);
}
