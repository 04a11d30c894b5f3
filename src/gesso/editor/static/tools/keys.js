// Every keyboard shortcut, in one table: what listens to the keys, and what the help panel shows.

import {
  duplicateSelected, lockSelected, mergeSelected, moveSelected, removeSelected, reorderSelected,
} from "../panels/object_edits.js";
import { TOOLS } from "./list.js";

/** @import { App } from "../app.js" */

/**
 * A shortcut. `keys` as they are shown and matched: "Ctrl+Shift+Z", "B", "?"; Ctrl is Command on a Mac. Without `act` it is
 * something that the tools themselves listen to, and only shown. `act` is handed the key without Ctrl and Shift.
 * @typedef {{group: string, keys: string[], what: string, act?: (app: App, key: string) => void}} Shortcut
 */

/** What is done only where something is selected. @param {(app: App, key: string) => void} act @returns {(app: App, key: string) => void} */
const selected = (act) => (app, key) => {
  if (app.selected.length) act(app, key);
};

/** @param {"front"|"back"|"forward"|"backward"} where */
const ordering = (where) => selected((app) => reorderSelected(app, where));

/** @param {string} name @returns {(app: App) => void} */
const command = (name) => (app) => app.emit("command", name);

/** @param {string} what @returns {(app: App) => void} */
const toggling = (what) => (app) => app.view.toggle(what);

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ARROWS = Object.keys(WAYS);

/** @param {number} by pixels */
const nudging = (by) => selected((app, key) => {
  const [dx, dy] = WAYS[/** @type {keyof typeof WAYS} */ (key)];
  moveSelected(app, by * dx, by * dy);
});

const DIGITS = [..."123456789"];

/** @type {Shortcut[]} */
export const KEYS = [
  ...TOOLS.map(({ name, label, key }) => ({
    group: "Tools", keys: [key], what: label, act: (/** @type {App} */ app) => app.setTool({ name }),
  })),

  { group: "Painting", keys: DIGITS, what: "Material of that number", act: (app, key) => command(`material-${key}`)(app) },
  { group: "Painting", keys: DIGITS.map((digit) => `Shift+${digit}`), what: "Material of that number and 9", act: (app, key) => command(`material-${9 + Number(key)}`)(app) },
  { group: "Painting", keys: ["/", "Ctrl+F"], what: "Search the materials", act: command("search") },
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

  { group: "Objects", keys: ["Shift+Click", "Ctrl+Click"], what: "Select several (in the list: Shift selects all in between)" },
  { group: "Objects", keys: ["Delete", "Backspace"], what: "Delete what is selected", act: selected(removeSelected) },
  { group: "Objects", keys: ["Ctrl+D"], what: "Duplicate", act: selected(duplicateSelected) },
  { group: "Objects", keys: ["Ctrl+A"], what: "Select all objects", act: selectAll },
  { group: "Objects", keys: ["PageUp"], what: "Bring forward", act: ordering("forward") },
  { group: "Objects", keys: ["PageDown"], what: "Send backward", act: ordering("backward") },
  { group: "Objects", keys: ["Shift+PageUp"], what: "Bring to the front", act: ordering("front") },
  { group: "Objects", keys: ["Shift+PageDown"], what: "Send to the back", act: ordering("back") },
  { group: "Objects", keys: ["M"], what: "Merge", act: selected(mergeSelected) },
  { group: "Objects", keys: ["K"], what: "Lock or unlock", act: selected(lockSelected) },
  { group: "Objects", keys: ARROWS, what: "Move by 1 pixel", act: nudging(1) },
  { group: "Objects", keys: ARROWS.map((key) => `Shift+${key}`), what: "Move by 10 pixels", act: nudging(10) },
  { group: "Objects", keys: ["Enter", "Esc"], what: "While an object is set down: in the middle; not at all" },

  { group: "View", keys: ["Space"], what: "Hold and drag to move the view (or middle button)" },
  { group: "View", keys: ["Ctrl+Wheel"], what: "Zoom" },
  { group: "View", keys: ["Shift+Wheel"], what: "Move the view sideways, with tools that have no size" },
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

/** @param {App} app */
function selectAll(app) {
  app.select(app.document.objects.filter(({ hidden }) => !hidden).map(({ key }) => key));
}

/** Shortcuts by the name of their keys, as `nameOf` gives it. @type {Map<string, Shortcut>} */
const BY_NAME = new Map(KEYS.flatMap((shortcut) => (shortcut.act ? shortcut.keys.map((keys) => [keys, shortcut]) : [])));

/**
 * "Ctrl+Shift+Z", "B", "?" or "Shift+1". Shift is named with letters under Ctrl, with named keys, and with the keys of digits that have a
 * material: those go by their place, as Shift gives "/" with the 7 on many keyboards. What Shift gives counts where it is a digit itself
 * (AZERTY), where it asks for help (there is no other key for it), and where no material has that number.
 * @param {KeyboardEvent} event @param {number} materials how many there are
 */
export function nameOf(event, materials) {
  const { key, code } = event;
  const single = [...key].length === 1;
  const typed = event.getModifierState("AltGraph"); // that is how "[" is typed on many keyboards
  if (event.altKey && !typed) return "";
  const ctrl = (event.ctrlKey || event.metaKey) && !typed;
  const digit = event.shiftKey && !ctrl ? (/^Digit([1-9])$/.exec(code)?.[1] ?? "") : "";
  if (digit && 9 + Number(digit) <= materials && !/[\d?]/.test(key)) return `Shift+${digit}`;
  const shift = event.shiftKey && (!single || ctrl);
  return `${ctrl ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${single ? key.toUpperCase() : key}`;
}

const TYPED = new Set(["text", "search", "number", "email", "url", "password", "tel", "date", "time"]);
const WRITING = new Set(["Ctrl+A", "Ctrl+Z", "Ctrl+Shift+Z", "Ctrl+Y"]); // what text fields do with Ctrl themselves
const STEERING = /^(Shift\+)?(Arrow|Page|Home|End)/; // what sliders and lists are set with
const PRESSING = /^( |Enter)$/; // what buttons are pressed with

/** Whether a key belongs to what has the focus. @param {KeyboardEvent} event @param {string} name */
export function taken({ target }, name) {
  if (document.querySelector("dialog[open]")) return true;
  if (!(target instanceof HTMLElement)) return false;
  const type = target instanceof HTMLInputElement ? target.type : "";
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || TYPED.has(type)) {
    return !name.startsWith("Ctrl+") || WRITING.has(name);
  }
  if (target instanceof HTMLSelectElement) return STEERING.test(name) || PRESSING.test(name);
  if (type === "radio" && STEERING.test(name)) return true;
  if (type === "range") return STEERING.test(name);
  return type === "checkbox" ? name === " " : (type !== "" || target instanceof HTMLButtonElement) && PRESSING.test(name);
}

/** A letter would choose another entry of a closed list, unseen. @param {KeyboardEvent} event */
const chooses = ({ target, key, altKey, ctrlKey, metaKey }) =>
  target instanceof HTMLSelectElement && !altKey && !ctrlKey && !metaKey && key !== " " && [...key].length === 1;

/** Let keys do what the table says. @param {App} app */
export function listenToKeys(app) {
  addEventListener("keydown", (event) => {
    const { classes, ignored } = app.model;
    const name = nameOf(event, classes.length + Number(ignored));
    if (event.defaultPrevented || taken(event, name)) return;
    const { pointers } = app;
    pointers?.modified(event);
    if (pointers?.key(event.key) || pressed(app, name) || chooses(event)) event.preventDefault();
  });
  addEventListener("keyup", (event) => app.pointers?.modified(event));
  addEventListener("blur", () => app.pointers?.released());
  giveKeysBack();
}

/** Whether the key meant something. @param {App} app @param {string} name */
function pressed(app, name) {
  if (name === " ") return true; // moves the view, never the page
  if (name === "Escape") {
    app.select([]);
    return true;
  }
  const shortcut = BY_NAME.get(name);
  if (!shortcut || app.pointers?.drawing) return Boolean(shortcut); // nothing changes under a stroke
  shortcut.act?.(app, name.replace(/^(Ctrl\+|Shift\+)+/, ""));
  return true;
}

const CLICKED = "button, input[type=checkbox], input[type=radio]";

/**
 * What was clicked, or chosen from with a pointer, does not keep the focus: the next Space moves the view, the next arrow the object.
 * Who goes from control to control with the keyboard keeps it, and so do dialogs and open menus.
 */
function giveKeysBack() {
  let pointing = false;
  addEventListener("pointerdown", () => { pointing = true; }, { capture: true });
  addEventListener("keydown", () => { pointing = false; }, { capture: true });
  for (const [kind, which] of [["click", CLICKED], ["change", "select"]]) {
    addEventListener(kind, () => {
      const { activeElement: held } = document;
      const rests = held instanceof HTMLElement && held.matches(which) && !held.matches("[aria-expanded=true]");
      if (pointing && rests && !held.closest("dialog, :popover-open")) held.blur();
    });
  }
}
