/** A subject that this machine cannot have; the text says which package brings it. */
export class Missing extends Error {}
