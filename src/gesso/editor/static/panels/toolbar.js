// The column of tools, and above the panes the options of the tool in hand.

import { SIZES } from "../app.js";
import { TOOLS } from "../tools/list.js";
import { iconButton, make } from "../view/dom.js";
import { ICONS } from "../view/icons.js";
import { Polygon } from "../tools/polygon.js";
import { selectOf, toggleSeveral } from "../tools/select.js";

/** @import { App } from "../app.js" */

/** @param {HTMLElement} container @param {App} app */
export function mountToolbar(container, app) {
  const group = make("div", { role: "radiogroup", "aria-label": "Tool", className: "tools" });
  const buttons = TOOLS.map(({ name, label, key }) => {
    const button = iconButton(label, ICONS[name], () => app.setTool({ name }), key);
    button.setAttribute("role", "radio");
    button.dataset.tool = name;
    group.append(button);
    return button;
  });
  roving(group, buttons);
  const undo = iconButton("Undo", ICONS.undo, () => app.undo(), "Ctrl+Z");
  const redo = iconButton("Redo", ICONS.redo, () => app.redo(), "Ctrl+Shift+Z");
  container.append(group, make("hr"), undo, redo);
  const options = document.getElementById("options");
  if (options) mountOptions(options, app);
  const show = () => {
    for (const button of buttons) {
      const held = button.dataset.tool === app.tool.name;
      button.setAttribute("aria-checked", String(held));
      button.tabIndex = held ? 0 : -1;
    }
    for (const [button, can, what, name, key] of /** @type {const} */ ([
      [undo, app.history.canUndo, "Undo", app.history.undoName, "Ctrl+Z"],
      [redo, app.history.canRedo, "Redo", app.history.redoName, "Ctrl+Shift+Z"],
    ])) {
      button.disabled = !can;
      button.title = `${what}${can && name ? `: ${name}` : ""} (${key})`;
    }
  };
  app.on("tool", show);
  app.on("document", show);
  show();
}

/**
 * Arrow keys go from one to the next, as in any group of which one is chosen.
 * @param {HTMLElement} group @param {HTMLButtonElement[]} buttons
 */
export function roving(group, buttons) {
  group.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const now = buttons.findIndex((button) => button === document.activeElement);
    if (!(event.key in steps) || now < 0) return;
    event.preventDefault();
    event.stopPropagation();
    const next = buttons[(now + steps[/** @type {keyof typeof steps} */ (event.key)] + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
}

// ------------------------------------------------------------------------------------------------------------- options

/** @typedef {{element: HTMLElement, for: (name: string) => boolean, show: () => void}} Option */

const PAINTS = new Set(["brush", "eraser", "line", "rectangle", "ellipse", "polygon", "lasso", "bucket"]);

/** @param {HTMLElement} container @param {App} app */
function mountOptions(container, app) {
  const title = make("span", { className: "title" });
  const material = make("span", { className: "muted hint" });
  const options = [sizeOption(app), pressureOption(app), fillOption(app), gapOption(app), polygonOption(app), newObjectOption(app), severalOption(app)];
  container.append(title, ...options.map(({ element }) => element), material);
  const show = () => {
    const { name, classIndex } = app.tool;
    title.textContent = TOOLS.find((tool) => tool.name === name)?.label ?? "";
    for (const option of options) {
      option.element.hidden = !option.for(name);
      option.show();
    }
    const paints = PAINTS.has(name) && name !== "eraser";
    material.textContent = paints && app.classOf(classIndex).thing ? hint(app) : "";
    material.title = material.textContent;
  };
  for (const event of /** @type {const} */ (["tool", "selection", "document"])) app.on(event, show);
  show();
}

/** Where the next stroke of a countable class goes. @param {App} app */
function hint(app) {
  const { newObject, classIndex, name } = app.tool;
  const { name: what } = app.classOf(classIndex);
  if (newObject || name === "bucket") return `makes a new ${what}`;
  const selected = app.selected.some((object) => object.class === classIndex && !object.locked);
  return selected ? `adds to the selected ${what} when it begins there` : `makes a new ${what}, or adds to one where it begins`;
}

/** @param {App} app @returns {Option} */
function sizeOption(app) {
  const slider = make("input", { type: "range", min: "0", max: "100", step: "1", id: "size", "aria-label": "Size of the brush" });
  const value = make("output", { htmlFor: "size" });
  const span = Math.log(SIZES.most / SIZES.least); // equal steps of the slider are equal ratios
  slider.addEventListener("input", () => app.setTool({ size: SIZES.least * Math.exp((slider.valueAsNumber / 100) * span) }));
  return {
    element: make("label", { title: "[ and ], or the wheel" }, "Size", slider, value),
    for: (name) => name === "brush" || name === "eraser" || name === "line",
    show() {
      if (document.activeElement !== slider) slider.value = String((100 * Math.log(app.tool.size / SIZES.least)) / span);
      slider.setAttribute("aria-valuetext", `${app.tool.size} pixels`);
      value.textContent = `${app.tool.size} px`;
    },
  };
}

/** @param {App} app @param {string} text @param {string} title @param {"pressure"|"newObject"} name */
function check(app, text, title, name) {
  const box = make("input", { type: "checkbox", id: name });
  box.addEventListener("change", () => app.setTool({ [name]: box.checked }));
  return { box, element: make("label", { title }, box, text) };
}

/** @param {App} app @returns {Option} */
function pressureOption(app) {
  const { box, element } = check(app, "Pen pressure", "How hard the pen is pressed sets the size", "pressure");
  let pen = false; // shown once a pen was seen
  addEventListener("pointermove", ({ pointerType }) => {
    if (pen || pointerType !== "pen") return;
    pen = true;
    app.emit("tool");
  }, { passive: true });
  return {
    element,
    for: (name) => pen && (name === "brush" || name === "eraser"),
    show: () => Object.assign(box, { checked: app.tool.pressure }),
  };
}

/** @param {App} app @returns {Option} */
function newObjectOption(app) {
  const { box, element } = check(app, "New object", "Each stroke makes an object of its own (N)", "newObject");
  return {
    element,
    for: (name) => PAINTS.has(name) && name !== "eraser" && name !== "bucket" && app.classOf(app.tool.classIndex).thing,
    show: () => Object.assign(box, { checked: app.tool.newObject }),
  };
}

/** What Shift does, for fingers. @param {App} app @returns {Option} */
function severalOption(app) {
  const box = make("input", { type: "checkbox", id: "several" });
  box.addEventListener("change", () => toggleSeveral(app));
  return {
    element: make("label", { title: "A click adds to what is selected (Shift)" }, box, "Several"),
    for: (name) => name === "select",
    show: () => Object.assign(box, { checked: selectOf(app)?.several ?? false }),
  };
}

/** @param {App} app @returns {Option} */
function fillOption(app) {
  const kinds = /** @type {const} */ ([["contiguous", "What hangs together"], ["class", "Whole class"], ["object", "Whole object"]]);
  const buttons = kinds.map(([fill, text]) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", () => app.setTool({ fill }));
    return button;
  });
  return {
    element: make("span", { className: "segments", role: "group", "aria-label": "What is filled" }, ...buttons),
    for: (name) => name === "bucket",
    show: () => buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(kinds[place][0] === app.tool.fill))),
  };
}

/** @param {App} app @returns {Option} */
function gapOption(app) {
  const slider = make("input", { type: "range", min: "0", max: "16", step: "1", id: "gap", "aria-label": "Openings that are closed" });
  const value = make("output", { htmlFor: "gap" });
  slider.addEventListener("input", () => app.setTool({ gap: slider.valueAsNumber }));
  return {
    element: make("label", { title: "Does not leak through openings of at most so many pixels" }, "Close gaps", slider, value),
    for: (name) => name === "bucket" && app.tool.fill === "contiguous",
    show() {
      slider.value = String(app.tool.gap);
      value.textContent = `${app.tool.gap} px`;
    },
  };
}

/** What a keyboard does otherwise, for fingers. @param {App} app @returns {Option} */
function polygonOption(app) {
  const tool = () => (app.pointers?.tool instanceof Polygon ? app.pointers.tool : null);
  const close = make("button", { type: "button", className: "primary" }, "Close");
  const last = make("button", { type: "button" }, "Remove last corner");
  const cancel = make("button", { type: "button" }, "Cancel");
  close.addEventListener("click", () => tool()?.finish());
  last.addEventListener("click", () => tool()?.removeLast());
  cancel.addEventListener("click", () => tool()?.cancel());
  return {
    element: make("span", { className: "row" }, close, last, cancel),
    for: (name) => name === "polygon" && (tool()?.corners ?? 0) > 0,
    show: () => Object.assign(close, { disabled: (tool()?.corners ?? 0) < 3 }),
  };
}
