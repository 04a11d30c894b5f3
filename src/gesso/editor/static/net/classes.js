// Whether two models mean the same by their classes. Pure.

/** @import { Class } from "../model/types.js" */

/** @param {Class[]} some @param {Class[]} others */
export const sameClasses = (some, others) => some.length === others.length
  && some.every(({ name, thing }, index) => name === others[index].name && thing === others[index].thing);
