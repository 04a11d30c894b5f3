// Small helpers to build elements; nothing is written as HTML text.

/**
 * An element with properties, attributes (names with a dash, or role) and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node|string|null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, String(value));
    else Object.assign(element, { [name]: value });
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A line drawing in a square of 20. @param {string} path @returns {SVGSVGElement} */
export function drawing(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/**
 * A quiet square button with a drawing.
 * @param {string} label said to those who do not see it, and in its tooltip @param {string} path @param {() => void} act
 * @param {string} [key] the key that does the same
 */
export function iconButton(label, path, act, key = "") {
  const button = make("button", {
    type: "button", className: "icon", title: key ? `${label} (${key})` : label, "aria-label": label,
  }, drawing(path));
  if (key) button.setAttribute("aria-keyshortcuts", key);
  button.addEventListener("click", act);
  return button;
}

/** @param {readonly number[]} colour red, green, blue, 0..255 */
export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
