// The tools in the order of the toolbar: name, what they are called, their key.

import { Brush } from "./brush.js";
import { Bucket } from "./bucket.js";
import { Eyedropper } from "./eyedropper.js";
import { Polygon } from "./polygon.js";
import { Select } from "./select.js";
import { Shape } from "./shapes.js";
import { Tool } from "./tool.js";

/** @import { App } from "../app.js" */
/** @import { ICONS } from "../view/icons.js" */
/** @import { View } from "../view/view.js" */

/** @type {{name: keyof typeof ICONS, label: string, key: string, sized: boolean}[]} */
export const TOOLS = [
  { name: "select", label: "Select and move", key: "V", sized: false },
  { name: "brush", label: "Brush", key: "B", sized: true },
  { name: "eraser", label: "Eraser", key: "E", sized: true },
  { name: "line", label: "Line", key: "L", sized: true },
  { name: "rectangle", label: "Rectangle", key: "R", sized: false },
  { name: "ellipse", label: "Ellipse", key: "O", sized: false },
  { name: "polygon", label: "Polygon", key: "P", sized: false },
  { name: "lasso", label: "Lasso", key: "Q", sized: false },
  { name: "bucket", label: "Fill", key: "G", sized: false },
  { name: "eyedropper", label: "Pick a class", key: "I", sized: false },
  { name: "pan", label: "Move the view", key: "H", sized: false },
];

/** Every tool by its name. @param {App} app @param {View} view @returns {Record<string, Tool>} */
export function tools(app, view) {
  return {
    select: new Select(app, view),
    brush: new Brush(app, view),
    eraser: new Brush(app, view, true),
    line: new Shape(app, view, "line"),
    rectangle: new Shape(app, view, "rectangle"),
    ellipse: new Shape(app, view, "ellipse"),
    polygon: new Polygon(app, view),
    lasso: new Shape(app, view, "lasso"),
    bucket: new Bucket(app, view),
    eyedropper: new Eyedropper(app, view),
    pan: new Tool(app, view), // pointers.js moves the view
  };
}
