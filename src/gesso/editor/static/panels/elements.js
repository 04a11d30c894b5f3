// Making elements: text is always text, never markup, and nothing is styled inline (the page's policy forbids both).

/** @typedef {Node|string|null|undefined|false} Child */
/**
 * Attributes (`class`, `aria-label`, `hidden`, ...; true is there without a value, false, null and undefined are not), and
 * listeners under `on`.
 * @typedef {Record<string, unknown> & {on?: Record<string, (event: any) => void>}} Attributes
 */

/**
 * An element with attributes, listeners and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...given(children));
  return element;
}

/** @param {Child[]} children @returns {(Node|string)[]} */
const given = (children) => children.filter((child) => child !== null && child !== undefined && child !== false);

/**
 * A button.
 * @param {string} text @param {(event: MouseEvent) => void} click @param {Attributes} [attributes]
 */
export const button = (text, click, attributes = {}) => make("button", { type: "button", on: { click }, ...attributes }, text);

/**
 * A button that is an icon, with its name for those who do not see it.
 * @param {string} icon a name of `ICONS` @param {string} name @param {(event: MouseEvent) => void} click @param {Attributes} [attributes]
 */
export const iconButton = (icon, name, click, attributes = {}) => {
  const made = make("button", { type: "button", class: "icon", "aria-label": name, title: name, on: { click }, ...attributes });
  made.append(drawn(icon));
  return made;
};

/**
 * A control and its label around it.
 * @param {string} text @param {HTMLElement} control
 */
export const labelled = (text, control) => make("label", { class: "labelled" }, make("span", {}, text), control);

/**
 * A slider. `change` follows every pull, also one that ends where it began, of which browsers say nothing.
 * @param {{min: number, max: number, step: number, value: number}} range
 * @param {{input?: (value: number) => void, change?: (value: number) => void}} listeners
 * @param {Attributes} [attributes]
 */
export function slider(range, { input, change }, attributes = {}) {
  const made = make("input", { type: "range", ...range, ...attributes });
  let pulled = false; // since the last change
  const settle = () => {
    pulled = false;
    change?.(made.valueAsNumber);
  };
  made.addEventListener("input", () => {
    pulled = true;
    input?.(made.valueAsNumber);
  });
  made.addEventListener("change", settle);
  for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) {
    made.addEventListener(end, () => setTimeout(() => pulled && settle())); // after the browser's own event
  }
  return made;
}

const SPACE = "http://www.w3.org/2000/svg";
/** Paths in a square of 20, drawn as lines. @type {Record<string, string>} */
export const ICONS = {
  lock: "M6 9V6.5a4 4 0 0 1 8 0V9M5 9h10v8H5z",
  unlock: "M6 9V6.5a4 4 0 0 1 7.6-1.7M5 9h10v8H5z",
  eye: "M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10zM10 12.3a2.3 2.3 0 1 0 0-4.6 2.3 2.3 0 0 0 0 4.6z",
  hidden: "M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10zM3.5 16.5l13-13",
  duplicate: "M4 13V4h9M7 7h9v9H7z",
  bin: "M4 5.5h12M8 5.5V4h4v1.5M6 5.5l.7 10.5h6.6L14 5.5M8.5 8.5v5M11.5 8.5v5",
  up: "M10 16V4.5M5.5 9L10 4.5 14.5 9",
  down: "M10 4v11.5M5.5 11L10 15.5 14.5 11",
  top: "M4 3.5h12M10 17V7M5.5 11.5L10 7l4.500 4.5",
  bottom: "M4 16.500h12M10 3v10M5.5 8.5L10 13l4.500-4.5",
  left: "M16 10H4.5M9 5.5L4.5 10 9 14.5",
  right: "M4 10h11.5M11 5.5l4.500 4.500-4.500 4.500",
  merge: "M4 4l6 6.500V17M16 4l-6 6.500",
  split: "M10 3v5L4 16M10 8l6 8",
  library: "M3 4h5v5H3zM3 12h5v5H3zM12 4h5v5h-5zM14.5 12v5M12 14.500h5",
  several: "M3 3.500h10v8H3zM7 15.500h10v-8",
  pin: "M7 3h6l-.7 6 2.700 2.500H5L7.700 9zM10 11.500V17",
  dice: "M4 4h12v12H4zM7.300 7.300h.01M12.700 7.300h.01M10 10h.01M7.300 12.700h.01M12.700 12.700h.01",
  close: "M5 5l10 10M15 5L5 15",
};

/** An icon. @param {string} name */
export function drawn(name) {
  const icon = document.createElementNS(SPACE, "svg");
  icon.setAttribute("viewBox", "0 0 20 20");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SPACE, "path");
  path.setAttribute("d", ICONS[name]);
  icon.append(path);
  return icon;
}

/** Show a button as pressed or not. @param {Element} element @param {boolean} is */
export const press = (element, is) => element.setAttribute("aria-pressed", String(is));

/** Text of a number of pixels. @param {number} count */
export const pixels = (count) => `${count.toLocaleString("en")} px`;
