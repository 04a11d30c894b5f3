// Asking for a file.

/** @param {string} accept kinds of files, as `<input accept>` has them @param {(file: File) => void} take */
export function chooseFile(accept, take) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept, hidden: true });
  const done = () => input.remove();
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    done();
    if (file) take(file);
  });
  input.addEventListener("cancel", done);
  document.body.append(input); // outside of the page some browsers forget it
  input.click();
}
