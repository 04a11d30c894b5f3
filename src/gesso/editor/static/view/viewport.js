// Where the picture lies in a pane: zoom and pan, shared by both panes. Pure.

/** @typedef {{x: number, y: number}} Point */
/** @typedef {{width: number, height: number}} Size */

const MOST = 48; // screen pixels per picture pixel
const MARGIN = 12; // screen pixels left free around a picture that is fitted in

export class Viewport {
  /** Screen pixels per picture pixel. */
  scale = 1;
  /** The point of the picture that lies in the middle of every pane. @type {Point} */
  centre = { x: 0, y: 0 };
  /** @type {Size} */
  picture = { width: 1, height: 1 };
  /** The scale at which all of the picture is seen. */
  fitted = 1;

  /** Show all of a picture. @param {Size} picture @param {Size} pane */
  fit(picture, pane) {
    this.picture = { width: picture.width, height: picture.height };
    this.fitted = fittingScale(picture, pane);
    this.scale = this.fitted;
    this.centre = { x: picture.width / 2, y: picture.height / 2 };
  }

  /** Panes of another size: a picture that was fitted stays so. @param {Size} pane */
  resize(pane) {
    const fitted = this.scale === this.fitted;
    this.fitted = fittingScale(this.picture, pane);
    if (fitted) this.fit(this.picture, pane);
  }

  /**
   * From a place in a pane to a point of the picture; pixel (0, 0) reaches from 0 to 1.
   * @param {Point} place @param {Size} pane @returns {Point}
   */
  toPicture({ x, y }, pane) {
    return {
      x: (x - pane.width / 2) / this.scale + this.centre.x,
      y: (y - pane.height / 2) / this.scale + this.centre.y,
    };
  }

  /** Where the picture's upper left corner is in a pane. @param {Size} pane @returns {Point} */
  origin(pane) {
    return { x: pane.width / 2 - this.centre.x * this.scale, y: pane.height / 2 - this.centre.y * this.scale };
  }

  /** Zoom so that what is at a place stays there. @param {number} factor @param {Point} place @param {Size} pane */
  zoom(factor, place, pane) {
    const before = this.toPicture(place, pane);
    this.scale = Math.min(MOST, Math.max(Math.min(this.fitted, 1) / 2, this.scale * factor));
    const after = this.toPicture(place, pane);
    this.#centreOn(this.centre.x + before.x - after.x, this.centre.y + before.y - after.y);
  }

  /** Move the picture by so many screen pixels. @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.#centreOn(this.centre.x - dx / this.scale, this.centre.y - dy / this.scale);
  }

  /** The middle of a pane always shows a part of the picture, so that it cannot get lost. @param {number} x @param {number} y */
  #centreOn(x, y) {
    const { width, height } = this.picture;
    this.centre = { x: Math.min(width, Math.max(0, x)), y: Math.min(height, Math.max(0, y)) };
  }
}

/** @param {Size} picture @param {Size} pane */
export function fittingScale(picture, pane) {
  const [across, down] = [(pane.width - 2 * MARGIN) / picture.width, (pane.height - 2 * MARGIN) / picture.height];
  return Math.min(MOST, Math.max(0.02, Math.min(across, down)));
}

/**
 * Whether two panes show more of a picture side by side or one above the other.
 * @param {Size} picture
 * @param {Size} space what there is for both
 * @returns {"columns"|"rows"}
 */
export function arrangement(picture, { width, height }) {
  const columns = fittingScale(picture, { width: width / 2, height });
  const rows = fittingScale(picture, { width, height: height / 2 });
  return rows > 1.08 * columns ? "rows" : "columns";
}
