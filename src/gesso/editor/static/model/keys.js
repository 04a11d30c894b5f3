// Keys are unique in the session, not only in one document: what was selected must never be mistaken for an object that was made
// after it was undone. This is the one thing in the model that remembers anything.

let last = 0;

/** A key that no object has had since the page was opened. */
export function freshKey() {
  last += 1;
  return last;
}
