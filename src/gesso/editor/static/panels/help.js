// The keyboard's cheat-sheet, from the very table that the keys are listened to with.

import { KEYS } from "../tools/keys.js";
import { iconButton, make } from "./elements.js";

/** @import { App } from "../app.js" */
/** @import { Shortcut } from "../tools/keys.js" */

/** How keys are shown that are not letters. @type {Record<string, string>} */
const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", PageUp: "Page ↑", PageDown: "Page ↓", Delete: "Del" };

/** @param {HTMLElement} container @param {App} app */
export function mountHelp(container, app) {
  const groups = [...new Set(KEYS.map(({ group }) => group))];
  const close = iconButton("close", "Close", () => dialog.close());
  const dialog = make("dialog", { class: "help", "aria-labelledby": "help-title" },
    make("header", { class: "panel-head" }, make("h2", { id: "help-title" }, "Keyboard and mouse"), close),
    make("div", { class: "help-groups" }, ...groups.map((name) => group(name, KEYS.filter((one) => one.group === name)))),
    make("p", { class: "hint" }, `gesso ${app.model.version} · ${app.model.name} · ${app.model.recipe}`));
  container.append(dialog);
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // on what is around it
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "?") return;
    event.stopPropagation();
    dialog.close();
  });
  app.on("command", (name) => {
    if (name === "help" && !dialog.open) dialog.showModal();
  });
}

/** @param {string} name @param {Shortcut[]} shortcuts */
function group(name, shortcuts) {
  const rows = shortcuts.map(({ keys, what }) => make("div", {}, make("dt", {}, ...shown(keys)), make("dd", {}, what)));
  return make("section", {}, make("h3", {}, name), make("dl", {}, ...rows));
}

/** Keys as caps; many of a row as the first and the last. @param {string[]} keys */
function shown(keys) {
  if (keys.length > 2 && keys.every((key) => key.startsWith("Shift+"))) keys = ["Shift", ...keys.map((key) => key.slice(6))];
  const few = keys.length > 5 ? [...keys.slice(0, keys[0] === "Shift" ? 2 : 1), "…", keys[keys.length - 1]] : keys;
  return few.map((key) => (key === "…" ? "…" : make("kbd", {}, sign(key))));
}

/** @param {string} key */
const sign = (key) => (key === "+" ? key : key.split("+").map((part) => SIGNS[part] ?? part).join(" "));
