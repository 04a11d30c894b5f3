// Takes the class under the pointer as the material, and hands back the tool that was held before.

import { Tool } from "./tool.js";

/** @import { At } from "./tool.js" */
/** @import { App } from "../app.js" */
/** @import { Point } from "../model/types.js" */
/** @import { View } from "../view/view.js" */

/**
 * The class of a pixel becomes the material; whether there was one.
 * @param {App} app @param {View} view @param {Point} pixel
 */
export function pick(app, view, { x, y }) {
  const { width, height } = app.document;
  if (x < 0 || y < 0 || x >= width || y >= height) return false;
  const classIndex = view.seen.label[y * width + x];
  if (classIndex > app.model.classes.length || (classIndex === app.model.classes.length && !app.model.ignored)) return false;
  app.setTool({ classIndex });
  return true;
}

export class Eyedropper extends Tool {
  #before = "brush";

  /** @param {App} app @param {View} view */
  constructor(app, view) {
    super(app, view);
    app.on("tool", () => {
      if (["brush", "line", "rectangle", "ellipse", "polygon", "lasso", "bucket"].includes(app.tool.name)) this.#before = app.tool.name;
    });
  }

  tip() {
    return "Click a pixel to take its class";
  }

  /** @param {At} at */
  up(at) {
    if (pick(this.app, this.view, at.pixel)) this.app.setTool({ name: this.#before });
  }
}
