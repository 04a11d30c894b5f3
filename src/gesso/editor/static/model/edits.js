// Every edit: pure functions from a document to the document after it. Those that make or rename objects return
// `{ document, key }` (`split`: keys), the others the document. What cannot be done throws a `Refusal` (document.js) whose
// message is a sentence for the user.

export {
  duplicate, lift, merge, moveObject, pasteMask, relabel, remove, reorder, replaceInstances, split,
} from "./arranging.js";
export { erase, fill, paint } from "./painting.js";
export {
  setClassStyle, setHidden, setLocked, setName, setNoise, setPinned, setSeed, setStyle, setZ,
} from "./settings.js";
