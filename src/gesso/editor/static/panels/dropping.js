// Dropping files: anywhere opens them, on some panels they mean something else.

/** @typedef {(file: File) => void} Take */

/** @param {DragEvent} event */
const hasFiles = ({ dataTransfer }) => dataTransfer !== null && [...dataTransfer.types].includes("Files");

/**
 * Take a file that is dropped on an element, before anything around it does.
 * @param {HTMLElement} element @param {string} words shown while a file is over it @param {Take} take
 */
export function onDropOf(element, words, take) {
  element.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    element.dataset.drop = words;
  });
  const leave = () => delete element.dataset.drop;
  element.addEventListener("dragleave", leave);
  element.addEventListener("drop", (event) => {
    leave();
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    take(file);
  });
}

/** The elements that may take a dropped file. @param {Element} overlay @param {Take} take */
export function onDropAnywhere(overlay, take) {
  let inside = 0; // elements that the file is over, nested
  const show = () => overlay.toggleAttribute("hidden", inside === 0);
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    inside += 1;
    show();
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    inside = Math.max(0, inside - 1);
    show();
  });
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    inside = 0;
    show();
    const file = event.dataTransfer?.files[0];
    if (event.defaultPrevented || !file) return;
    event.preventDefault();
    take(file);
  }, false);
  addEventListener("drop", () => {
    inside = 0;
    show();
  }, { capture: true });
}
