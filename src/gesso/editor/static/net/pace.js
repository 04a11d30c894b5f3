// How large previews can be so that several of them arrive per second. Pure: knows only what was measured.

export const SCALES = [1, 0.5, 0.25, 0.125]; // what the server renders
const SHARES = new Map([[1, 1], [0.5, 0.32], [0.25, 0.14], [0.125, 0.05]]); // of a full render's time, with what does not shrink
const TARGET = 200; // ms per preview: five per second, so that four arrive even when the machine stumbles
const WEIGHT = 0.4; // of the newest measurement

export class Pace {
  /** @type {number|null} ms that a full render is expected to take */
  full = null;

  /**
   * A render took so long, from sending to its answer.
   * @param {number} scale @param {number} milliseconds
   */
  note(scale, milliseconds) {
    const full = milliseconds / (SHARES.get(scale) ?? 1);
    this.full = this.full === null ? full : (1 - WEIGHT) * this.full + WEIGHT * full;
  }

  /** The largest scale at which previews arrive often enough; the middle one while nothing was measured. */
  scale() {
    const full = this.full;
    if (full === null) return 0.5;
    return SCALES.find((scale) => full * (SHARES.get(scale) ?? 1) <= TARGET) ?? SCALES[SCALES.length - 1];
  }
}

/** Milliseconds until the next attempt to reach a server: doubling up to five seconds. @param {number} attempt from 0 */
export const backoff = (attempt) => Math.min(250 * 2 ** attempt, 5000);
