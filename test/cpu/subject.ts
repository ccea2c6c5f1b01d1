/**
 * What is compared with the host's CPU: something that runs a batch of cases and says how each one ended.
 */
export interface Subject {
  readonly name: string;
  /** Outcomes in the order of the cases, in the layout of OUTCOME (layout.ts). */
  run(cases: Uint8Array, count: number): Promise<Uint8Array> | Uint8Array;
  /** More about outcome `i` of the last batch, when it is UNSUPPORTED. */
  detail(i: number): string | undefined;
  /** Was code of case `i` of the last batch translated into a region? */
  translated?(i: number): boolean;
  close(): void;
}
