/**
 * The handlers that instructions were given lately, by row and shape number: what has been decoded a moment ago is decoded
 * again and again. A shape's name, a string, takes ten times as long to make as all else that is done for an instruction.
 *
 * One place a hash: a newcomer takes it over, so a guest cannot make it grow.
 */

/** A booting Linux uses some 700 shapes; a power of two. */
const PLACES = 1 << 13;

export class RecentHandlers {
  private readonly rows = new Uint16Array(PLACES);
  private readonly shapes = new Int32Array(PLACES);
  /** 0, which is no handler of an instruction, where nothing is known. */
  private readonly handlers = new Uint16Array(PLACES);

  private place(row: number, shape: number): number {
    return (Math.imul(shape + Math.imul(row, 0x2545f491), 0x9e3779b1) >>> 8) & (PLACES - 1);
  }

  /** The handler, or 0. */
  get(row: number, shape: number): number {
    const at = this.place(row, shape);
    return this.shapes[at] === shape && this.rows[at] === row ? this.handlers[at]! : 0;
  }

  set(row: number, shape: number, handler: number): void {
    const at = this.place(row, shape);
    this.rows[at] = row;
    this.shapes[at] = shape;
    this.handlers[at] = handler;
  }

  clear(): void {
    this.handlers.fill(0);
  }
}
