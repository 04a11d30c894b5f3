// One pane: a canvas with the picture, and one above it for outlines and the preview of the tool.

/** @typedef {import("./viewport.js").Viewport} Viewport */
/** @typedef {import("./viewport.js").Point} Point */

export class Pane {
  /** @param {HTMLElement} element @param {string} caption */
  constructor(element, caption) {
    this.element = element;
    this.base = canvasIn(element, "base");
    this.over = canvasIn(element, "over");
    this.caption = Object.assign(document.createElement("p"), { className: "caption", textContent: caption });
    element.append(this.caption);
    element.tabIndex = 0;
    this.width = 1;
    this.height = 1;
    this.ratio = 1;
    this.corner = { x: 0, y: 0 };
  }

  /** Caption the pane; the same text again would make the browser lay out the page. @param {string} words */
  say(words) {
    if (this.caption.textContent !== words) this.caption.textContent = words;
  }

  get shown() {
    return this.element.offsetParent !== null;
  }

  /** Take the size that the page gives; whether it changed. */
  measure() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const ratio = window.devicePixelRatio || 1;
    if (!width || !height) return false;
    this.locate();
    if (width === this.width && height === this.height && ratio === this.ratio) return false;
    Object.assign(this, { width, height, ratio });
    for (const { canvas } of [this.base, this.over]) {
      Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    }
    return true;
  }

  /** The place of a pointer in this pane. @param {{clientX: number, clientY: number}} event @returns {Point} */
  place({ clientX, clientY }) {
    return { x: clientX - this.corner.x, y: clientY - this.corner.y };
  }

  /** Find out where in the window this pane is: once per stroke, because asking makes the browser lay out the page. */
  locate() {
    const { left, top } = this.element.getBoundingClientRect();
    this.corner = { x: left, y: top };
  }

  /**
   * Empty a canvas, and let what is drawn next be in pixels of the picture.
   * @param {CanvasRenderingContext2D} context @param {Viewport} viewport
   */
  begin(context, viewport) {
    const { ratio } = this;
    const { x, y } = viewport.origin(this);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    const scale = viewport.scale * ratio;
    context.setTransform(scale, 0, 0, scale, Math.round(x * ratio), Math.round(y * ratio));
  }

  /**
   * Draw a bitmap over the whole picture.
   * @param {CanvasImageSource} bitmap @param {Viewport} viewport
   * @param {{smooth?: boolean, alpha?: number, from?: number}} [how] `from`: the first column of the pane that is drawn
   */
  draw(bitmap, { scale, picture }, { smooth = false, alpha = 1, from = 0 } = {}) {
    const context = this.base;
    context.save();
    if (from > 0) {
      const inverse = context.getTransform().inverse();
      const edge = from * this.ratio * inverse.a + inverse.e;
      context.beginPath();
      context.rect(edge, 0, picture.width - edge, picture.height);
      if (edge < picture.width) context.clip();
      else context.globalAlpha = 0;
    }
    context.imageSmoothingEnabled = smooth && scale < 8;
    context.imageSmoothingQuality = "high";
    context.globalAlpha *= alpha;
    context.drawImage(bitmap, 0, 0, picture.width, picture.height);
    context.restore();
  }
}

/** @param {HTMLElement} element @param {string} name */
function canvasIn(element, name) {
  const canvas = Object.assign(document.createElement("canvas"), { className: name });
  canvas.setAttribute("aria-hidden", "true");
  element.append(canvas);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives no canvas.");
  return context;
}
