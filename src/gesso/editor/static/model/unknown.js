// Its own file, so that documents and their wire may both import it.

/** Class index of the ground where nothing is known of it (everywhere or nowhere): an object has filled the whole picture. */
export const UNKNOWN = 65535;
