// The tools for the selected objects: relabel, order, merge, split, move, scale, duplicate, delete.

import { iconButton, make, slider } from "./elements.js";
import {
  duplicateSelected, mergeSelected, moveSelected, namesOf, relabelSelected, removeSelected, reorderSelected, scaled,
  scaleSelected, splitSelected,
} from "./object_edits.js";

/** @import { App } from "../app.js" */

const EVEN = 0; // the middle of the scale slider, which is in powers of two

/** @param {HTMLElement} container @param {App} app */
export function mountObjectTools(container, app) {
  const title = make("h3");
  const relabel = classSelect(app);
  relabel.addEventListener("change", () => relabelSelected(app, Number(relabel.value)));
  const merge = iconButton("merge", "Merge into one object", () => mergeSelected(app));
  const split = iconButton("split", "Split into its separate parts", () => splitSelected(app));
  const order = make("span", { class: "tool-group", role: "group", "aria-label": "Order" },
    iconButton("top", "Bring to the front", () => reorderSelected(app, "front")),
    iconButton("up", "Bring forward", () => reorderSelected(app, "forward")),
    iconButton("down", "Send backward", () => reorderSelected(app, "backward")),
    iconButton("bottom", "Send to the back", () => reorderSelected(app, "back")));
  const change = make("span", { class: "tool-group", role: "group", "aria-label": "Change" },
    iconButton("duplicate", "Duplicate (Ctrl+D)", () => duplicateSelected(app)), merge, split,
    iconButton("bin", "Delete (Del)", () => removeSelected(app)));
  container.append(
    make("div", { class: "row" }, title, relabel),
    make("div", { class: "row" }, change, order),
    make("div", { class: "row" }, moving(app), scaling(app)),
  );

  const show = () => {
    const objects = app.selected;
    container.hidden = objects.length === 0;
    if (!objects.length) return;
    title.textContent = namesOf(app, objects);
    const classes = new Set(objects.map((object) => object.class));
    relabel.value = classes.size === 1 ? String(objects[0].class) : "";
    merge.disabled = objects.length < 2;
    split.disabled = objects.length !== 1;
  };
  app.on("document", show);
  app.on("selection", show);
  show();
}

/** Every class that the model knows. @param {App} app */
function classSelect(app) {
  const several = make("option", { value: "", disabled: true, hidden: true }, "several");
  const options = app.model.classes.map(({ index, name }) => make("option", { value: index }, name));
  return make("select", { "aria-label": "Material", title: "Make it of another material" }, several, ...options);
}

/** Arrows that move by a pixel; with Shift by ten. @param {App} app */
function moving(app) {
  /** @param {string} icon @param {string} name @param {number} dx @param {number} dy */
  const arrow = (icon, name, dx, dy) => iconButton(icon, `Move ${name} (Shift: by 10)`, ({ shiftKey }) => {
    const by = shiftKey ? 10 : 1;
    moveSelected(app, by * dx, by * dy);
  });
  return make("span", { class: "tool-group", role: "group", "aria-label": "Move" },
    arrow("left", "left", -1, 0), arrow("right", "right", 1, 0), arrow("up", "up", 0, -1), arrow("down", "down", 0, 1));
}

/** A slider that scales while it is pulled, and springs back. @param {App} app */
function scaling(app) {
  const output = make("output", {}, "100 %");
  const range = { min: -2, max: 2, step: 0.05, value: EVEN };
  const control = slider(range, {
    input: (value) => {
      output.textContent = `${Math.round(100 * 2 ** value)} %`;
      app.preview(value === EVEN ? null : app.attempt(() => scaled(app, 2 ** value)));
    },
    change: (value) => {
      app.preview(null);
      if (value !== EVEN) scaleSelected(app, 2 ** value);
      control.value = String(EVEN);
      output.textContent = "100 %";
    },
  }, { "aria-label": "Scale the selected objects, from a quarter to four times", title: "Size" });
  const show = () => {
    control.disabled = app.selected.every(({ locked }) => locked);
  };
  app.on("document", show);
  app.on("selection", show);
  return make("span", { class: "with-output" }, control, output);
}
