// A panel that opens below its button, in front of everything, and closes by Escape or a click elsewhere.

const MARGIN = 8;

export class Menu {
  /** @param {HTMLElement} opener @param {HTMLElement} panel */
  constructor(opener, panel) {
    this.opener = opener;
    this.panel = panel;
    panel.popover = "manual";
    opener.setAttribute("aria-haspopup", "true");
    opener.setAttribute("aria-expanded", "false");
    for (const element of [panel, opener]) {
      element.addEventListener("keydown", (event) => this.isOpen && this.#key(event));
      element.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && this.#leave(relatedTarget));
    }
    addEventListener("pointerdown", ({ target }) => {
      if (target) this.#leave(target);
    }, { capture: true });
    addEventListener("resize", () => this.isOpen && this.place());
  }

  get isOpen() {
    return this.panel.matches(":popover-open");
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    this.panel.showPopover();
    this.opener.setAttribute("aria-expanded", "true");
    this.place();
    this.#items()[0]?.focus();
  }

  /** @param {boolean} [back] whether the keyboard goes back to the button */
  close(back = true) {
    if (!this.isOpen) return;
    this.panel.hidePopover();
    this.opener.setAttribute("aria-expanded", "false");
    if (back) this.opener.focus();
  }

  /** Pointer or focus went to an element: elsewhere closes it. @param {EventTarget} target */
  #leave(target) {
    const within = target instanceof Node && (this.panel.contains(target) || this.opener.contains(target));
    if (!within) this.close(false);
  }

  #items() {
    return /** @type {HTMLElement[]} */ ([...this.panel.querySelectorAll("button:enabled, select, input")]);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); // these keys are the menu's, not the tools'
    if (event.key === "Escape") this.close();
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || event.target instanceof HTMLSelectElement) return;
    event.preventDefault();
    const items = this.#items();
    const place = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    items[(place + by + items.length) % items.length]?.focus();
  }

  /** Below the button, or above it where there is more room; within the window. */
  place() {
    const { style } = this.panel;
    style.maxHeight = ""; // measured as high as it would like to be
    const from = this.opener.getBoundingClientRect();
    const { width, height } = this.panel.getBoundingClientRect();
    const below = from.bottom + 4 + height <= innerHeight - MARGIN || from.top < innerHeight - from.bottom;
    style.inset = "auto";
    style.left = `${Math.max(MARGIN, Math.min(from.left, innerWidth - width - MARGIN))}px`;
    style.top = `${below ? from.bottom + 4 : Math.max(MARGIN, from.top - height - 4)}px`;
    style.maxHeight = `${Math.max(120, (below ? innerHeight - from.bottom : from.top) - 4 - MARGIN)}px`;
  }
}
