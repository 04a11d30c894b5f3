// The nearest pixel of a kind, for every pixel of a window: Maurer, Qi and Raghavan 2003, column by column, then row by row.
// Of equally near ones the one whose column, then row, comes first along the scan: as scipy.ndimage finds them.

/** @import {Rect} from "./types.js" */

/**
 * @param {Rect} window inside the picture @param {number} stride width of the picture
 * @param {(place: number) => boolean} allowed whether a place of the picture is of the kind
 * @returns {Int32Array | null} place in the picture of the nearest one, per pixel of the window; null where the window has none
 */
export function nearestSources(window, stride, allowed) {
  const rows = nearestInColumn(window, stride, allowed);
  if (!rows.some((row) => row >= 0)) return null;
  const found = new Int32Array(rows.length);
  const kept = new Int32Array(window.width);
  for (let y = 0; y < window.height; y += 1) {
    const line = rows.subarray(y * window.width, (y + 1) * window.width);
    const count = envelope(line, y, kept);
    let best = 0;
    for (let x = 0; x < window.width; x += 1) {
      while (best < count - 1 && squared(line, kept[best + 1], x, y) < squared(line, kept[best], x, y)) best += 1;
      found[y * window.width + x] = (window.y + line[kept[best]]) * stride + window.x + kept[best];
    }
  }
  return found;
}

/** Row in the window of the nearest source in the same column, the upper of two; -1 where there is none.
 * @param {Rect} window @param {number} stride @param {(place: number) => boolean} allowed */
function nearestInColumn({ x: left, y: top, width, height }, stride, allowed) {
  const rows = new Int32Array(width * height).fill(-1);
  for (let x = 0; x < width; x += 1) {
    let above = -1;
    for (let y = 0; y < height; y += 1) {
      if (allowed((top + y) * stride + left + x)) above = y;
      rows[y * width + x] = above;
    }
    let below = -1;
    for (let y = height - 1; y >= 0; y -= 1) {
      const upper = rows[y * width + x];
      if (upper === y) below = y;
      if (below >= 0 && (upper < 0 || below - y < y - upper)) rows[y * width + x] = below;
    }
  }
  return rows;
}

/** @param {Int32Array} line rows of the sources by column @param {number} column @param {number} x @param {number} y */
function squared(line, column, x, y) {
  return (column - x) ** 2 + (line[column] - y) ** 2;
}

/**
 * The columns whose source is the nearest one somewhere in a row.
 * @param {Int32Array} line rows of the sources by column, -1 for none @param {number} y the row @param {Int32Array} kept filled
 *   with the columns @returns {number} how many
 */
function envelope(line, y, kept) {
  let count = 0;
  for (let column = 0; column < line.length; column += 1) {
    if (line[column] < 0) continue;
    const here = (line[column] - y) ** 2;
    while (count >= 2) {
      const [before, last] = [kept[count - 2], kept[count - 1]];
      const [a, b, c] = [last - before, column - last, column - before];
      const hidden = c * (line[last] - y) ** 2 - b * (line[before] - y) ** 2 - a * here - a * b * c > 0;
      if (!hidden) break;
      count -= 1;
    }
    kept[count] = column;
    count += 1;
  }
  return count;
}
