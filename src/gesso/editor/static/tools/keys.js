// Every keyboard shortcut, in one table: what listens to the keys, and what the help panel shows.

import { duplicate, merge, remove, reorder, setLocked } from "../model/edits.js";
import { TOOLS } from "./list.js";
import { nudge, said } from "./select.js";

/** @import { App } from "../app.js" */
/** @import { Document } from "../model/types.js" */

/**
 * A shortcut. `keys` as they are shown and matched: "Ctrl+Shift+Z", "B", "?"; Ctrl is Command on a Mac. Without `act` it is
 * something that the tools themselves listen to, and only shown.
 * @typedef {{group: string, keys: string[], what: string, act?: (app: App, key: string) => void}} Shortcut
 */

/** @param {"front"|"back"|"forward"|"backward"} where @param {string} what @returns {(app: App) => void} */
const ordering = (where, what) => (app) =>
  onSelected(app, what, (document, keys) => keys.reduce((ordered, key) => reorder(ordered, key, where), document));

/** @param {string} name @returns {(app: App) => void} */
const command = (name) => (app) => app.emit("command", name);

/** @param {string} what @returns {(app: App) => void} */
const toggling = (what) => (app) => app.view.toggle(what);

const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];

/** @type {Shortcut[]} */
export const KEYS = [
  ...TOOLS.map(({ name, label, key }) => ({
    group: "Tools", keys: [key], what: label, act: (/** @type {App} */ app) => app.setTool({ name }),
  })),

  { group: "Painting", keys: [..."123456789"], what: "Material of that number", act: (app, key) => command(`material-${key}`)(app) },
  { group: "Painting", keys: ["/"], what: "Search the materials", act: command("search") },
  { group: "Painting", keys: ["X"], what: "The material before", act: command("material-before") },
  { group: "Painting", keys: ["[", ","], what: "Smaller brush (or wheel)", act: (app) => app.resizeBrush(-1) },
  { group: "Painting", keys: ["]", "."], what: "Larger brush (or wheel)", act: (app) => app.resizeBrush(1) },
  { group: "Painting", keys: ["N"], what: "Each stroke a new object", act: (app) => app.setTool({ newObject: !app.tool.newObject }) },
  { group: "Painting", keys: ["Shift"], what: "Straight lines, squares, circles" },
  { group: "Painting", keys: ["Ctrl"], what: "The alternative: erase while painting, paint while erasing" },
  { group: "Painting", keys: ["Alt"], what: "Pick the class under the pointer" },
  { group: "Painting", keys: ["Enter"], what: "Close the polygon" },
  { group: "Painting", keys: ["Backspace"], what: "Remove the polygon's last corner" },
  { group: "Painting", keys: ["Esc"], what: "Cancel; select nothing" },

  { group: "Objects", keys: ["Delete", "Backspace"], what: "Delete what is selected", act: deleteSelected },
  { group: "Objects", keys: ["Ctrl+D"], what: "Duplicate", act: duplicateSelected },
  { group: "Objects", keys: ["Ctrl+A"], what: "Select all objects", act: selectAll },
  { group: "Objects", keys: ["PageUp"], what: "Bring forward", act: ordering("forward", "Bring forward") },
  { group: "Objects", keys: ["PageDown"], what: "Send backward", act: ordering("backward", "Send backward") },
  { group: "Objects", keys: ["Shift+PageUp"], what: "Bring to the front", act: ordering("front", "Bring to the front") },
  { group: "Objects", keys: ["Shift+PageDown"], what: "Send to the back", act: ordering("back", "Send to the back") },
  { group: "Objects", keys: ["M"], what: "Merge", act: mergeSelected },
  { group: "Objects", keys: ["K"], what: "Lock or unlock", act: lockSelected },
  { group: "Objects", keys: ARROWS, what: "Move by 1 pixel", act: (app, key) => nudgeSelected(app, key, 1) },
  { group: "Objects", keys: ARROWS.map((key) => `Shift+${key}`), what: "Move by 10 pixels", act: (app, key) => nudgeSelected(app, key, 10) },

  { group: "View", keys: ["Space"], what: "Hold and drag to move the view (or middle button)" },
  { group: "View", keys: ["Ctrl+Wheel"], what: "Zoom" },
  { group: "View", keys: ["+", "="], what: "Zoom in", act: (app) => app.view.zoomBy(1.5) },
  { group: "View", keys: ["-"], what: "Zoom out", act: (app) => app.view.zoomBy(1 / 1.5) },
  { group: "View", keys: ["0"], what: "Show all of the picture", act: (app) => app.view.fit() },
  { group: "View", keys: ["W"], what: "Two panes, or before and after", act: toggling("wipe") },
  { group: "View", keys: ["'"], what: "Boundaries", act: toggling("boundaries") },
  { group: "View", keys: ["\\"], what: "Outlines of what is selected", act: toggling("outlines") },
  { group: "View", keys: ["F"], what: "Faithfulness", act: command("faithfulness") },
  { group: "View", keys: ["T"], what: "Times", act: command("latency") },

  { group: "Document", keys: ["Ctrl+Z"], what: "Undo", act: (app) => app.undo() },
  { group: "Document", keys: ["Ctrl+Shift+Z", "Ctrl+Y"], what: "Redo", act: (app) => app.redo() },
  { group: "Document", keys: ["S"], what: "Draw all styles anew", act: command("random") },
  { group: "Document", keys: ["Ctrl+S"], what: "Save the project", act: command("save") },
  { group: "Document", keys: ["Ctrl+O"], what: "Open", act: command("open") },
  { group: "Document", keys: ["?"], what: "This help", act: command("help") },
];

/** @param {App} app @param {string} what @param {(document: Document, keys: number[]) => Document} edit */
function onSelected(app, what, edit) {
  const keys = app.selected.map(({ key }) => key);
  if (keys.length) app.apply(`${what} ${said(app)}`, (document) => edit(document, keys));
}

/** @param {App} app */
function selectAll(app) {
  app.select(app.document.objects.filter(({ hidden }) => !hidden).map(({ key }) => key));
}

/** @param {App} app */
function deleteSelected(app) {
  onSelected(app, "Delete", (document, keys) => keys.reduce((rest, key) => remove(rest, key), document));
}

/** @param {App} app */
function duplicateSelected(app) {
  if (!app.selected.length) return;
  const by = Math.max(4, Math.round(app.document.width / 40));
  /** @type {number[]} */
  const select = [];
  const made = app.attempt(() => app.selected.reduce((document, { key }) => {
    const copy = duplicate(document, key, by, 0);
    select.push(copy.key);
    return copy.document;
  }, app.document));
  if (made) app.apply(`Duplicate ${said(app)}`, () => made, { select });
}

/** @param {App} app */
function mergeSelected(app) {
  if (app.selected.length > 1) onSelected(app, "Merge", (document, keys) => merge(document, keys));
}

/** @param {App} app */
function lockSelected(app) {
  const lock = app.selected.some(({ locked }) => !locked);
  onSelected(app, lock ? "Lock" : "Unlock", (document, keys) => keys.reduce((changed, key) => setLocked(changed, key, lock), document));
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {App} app @param {string} key @param {number} by */
function nudgeSelected(app, key, by) {
  const [dx, dy] = WAYS[/** @type {keyof typeof WAYS} */ (key)];
  if (app.selected.length) app.apply(`Move ${said(app)}`, nudge(app, by * dx, by * dy));
}

/** Shortcuts by the name of their keys, as `nameOf` gives it. @type {Map<string, Shortcut>} */
const BY_NAME = new Map(KEYS.flatMap((shortcut) => (shortcut.act ? shortcut.keys.map((keys) => [keys, shortcut]) : [])));

/** "Ctrl+Shift+Z", "B" or "?"; Shift is named with letters under Ctrl and with named keys alone. @param {KeyboardEvent} event */
export function nameOf(event) {
  const { key } = event;
  const single = [...key].length === 1;
  const typed = event.getModifierState("AltGraph"); // that is how "[" is typed on many keyboards
  if (event.altKey && !typed) return "";
  const ctrl = (event.ctrlKey || event.metaKey) && !typed;
  const shift = event.shiftKey && (!single || ctrl);
  return `${ctrl ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${single ? key.toUpperCase() : key}`;
}

const TYPED = new Set(["text", "search", "number", "email", "url", "password", "tel", "date", "time"]);
const STEERING = /^(Shift\+)?(Arrow|Page|Home|End)|^( |Enter|Space)$/; // what sliders, lists and buttons need themselves

/** Whether a key belongs to what has the focus. @param {KeyboardEvent} event @param {string} name */
export function taken({ target }, name) {
  if (document.querySelector("dialog[open]")) return true;
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  if (target instanceof HTMLInputElement) return TYPED.has(target.type) || STEERING.test(name);
  return target instanceof HTMLButtonElement && /^( |Enter)$/.test(name);
}

/** Let keys do what the table says. @param {App} app */
export function listenToKeys(app) {
  addEventListener("keydown", (event) => {
    const name = nameOf(event);
    if (event.defaultPrevented || taken(event, name)) return;
    const { pointers } = app;
    pointers?.modified(event);
    if (pointers?.key(event.key) || pressed(app, event, name)) event.preventDefault();
  });
  addEventListener("keyup", (event) => app.pointers?.modified(event));
  addEventListener("blur", () => app.pointers?.released());
}

/** Whether the key meant something. @param {App} app @param {KeyboardEvent} event @param {string} name */
function pressed(app, event, name) {
  if (name === " ") return true; // moves the view, never the page
  if (name === "Escape") {
    app.select([]);
    return true;
  }
  const shortcut = BY_NAME.get(name);
  if (!shortcut || app.pointers?.drawing) return Boolean(shortcut); // nothing changes under a stroke
  shortcut.act?.(app, event.key);
  return true;
}
