// Fills what is under the pointer: what hangs together, a whole class, or a whole object.

import { fill } from "../model/edits.js";
import { pick } from "./eyedropper.js";
import { selecting, Tool } from "./tool.js";

/** @import { At } from "./tool.js" */

export class Bucket extends Tool {
  tip() {
    return "Ctrl: the whole class · Alt: pick";
  }

  /** @param {At} at */
  up(at) {
    const { app } = this;
    if (at.alt) {
      pick(app, this.view, at.pixel);
      return;
    }
    const { x, y } = at.pixel;
    const { width, height } = app.document;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const { classIndex, gap } = app.tool;
    const reach = at.ctrl ? "class" : app.tool.fill;
    const thing = app.classOf(classIndex).thing;
    const made = app.attempt(() => fill(app.document, x, y, classIndex, { reach, gap, into: thing ? "new" : null }));
    if (made) app.apply(`Fill with ${app.classOf(classIndex).name}`, () => made.document, selecting(made));
  }
}
