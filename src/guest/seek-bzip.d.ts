/** The part of seek-bzip that we use; the package brings no types. */
declare module 'seek-bzip' {
  const Bunzip: {
    /** Decodes one whole stream into `output`, which has to have its exact size, or into a new buffer. Throws TypeError on damaged data. */
    decode(input: Uint8Array, output?: Uint8Array): Uint8Array;
  };
  export default Bunzip;
}
