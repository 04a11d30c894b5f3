// Where squares of equal pixels fit: what tells wide parts of a region from narrow ones.

/**
 * The lower right corners of the squares of equal pixels; equal in both of two maps.
 * @param {ArrayLike<number>} one row by row @param {ArrayLike<number>} other perhaps the same
 * @param {number} width @param {number} height @param {number} side of the squares, in pixels @returns {Uint8Array} 1 at corners
 */
export function squares(one, other, width, height, side) {
  const corners = new Uint8Array(width * height);
  let above = new Int32Array(width); // side of the largest square that ends at each pixel of the row above
  let here = new Int32Array(width);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const place = y * width + x;
      const [a, b] = [one[place], other[place]];
      const [left, upper, corner] = [place - 1, place - width, place - width - 1];
      const same =
        x > 0 && y > 0 && one[left] === a && one[upper] === a && one[corner] === a &&
        other[left] === b && other[upper] === b && other[corner] === b;
      here[x] = same ? Math.min(here[x - 1], above[x], above[x - 1]) + 1 : 1;
      if (here[x] >= side) corners[place] = 1;
    }
    [above, here] = [here, above];
  }
  return corners;
}

/**
 * What squares cover.
 * @param {Uint8Array} corners their lower right corners @param {number} width @param {number} height @param {number} side
 * @returns {Uint8Array}
 */
export function underSquares(corners, width, height, side) {
  const across = new Uint8Array(corners.length);
  for (let y = 0; y < height; y += 1) {
    let left = 0; // how many more pixels the last corner covers
    for (let x = width - 1; x >= 0; x -= 1) {
      left = corners[y * width + x] ? side : left - 1;
      if (left > 0) across[y * width + x] = 1;
    }
  }
  const covered = new Uint8Array(corners.length);
  const rows = new Int32Array(width);
  for (let y = height - 1; y >= 0; y -= 1) {
    for (let x = 0; x < width; x += 1) {
      rows[x] = across[y * width + x] ? side : rows[x] - 1;
      if (rows[x] > 0) covered[y * width + x] = 1;
    }
  }
  return covered;
}
