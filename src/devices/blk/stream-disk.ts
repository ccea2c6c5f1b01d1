/**
 * Disks that hold nothing: what a guest reads from one, from STREAM_START on and in order, is a stream that somebody feeds;
 * what it writes to the other, likewise, is a stream that somebody takes. A ring moves pages where a console moves bytes, so
 * this is how much data comes into a guest and out of it. The guest is to open them past its page cache (O_DIRECT): then it
 * asks for each place once. Requests that overtake each other wait for their turn; a place that was passed is an error.
 *
 * In front of STREAM_START and far behind what was read there are zeros, for those who look whether a new disk has
 * partitions or a file system.
 */
import { type BlkStatus, type BlockStore, SECTOR_SIZE } from './block-store.ts';

/** Bytes. Whoever looks for a file system at a disk's beginning looks within the first MiB or two. */
export const STREAM_START = 16 << 20;
const START_SECTOR = STREAM_START / SECTOR_SIZE;
/** Further ahead than this nobody is who reads in order: requests under way on a ring are a tenth of it. */
const AHEAD_MAX = 64 << 20;
/** 1 TiB: more than anybody copies, as the guest sees a size. */
const SECTORS = 2 ** 31;

const bytesOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, { length }) => sum + length, 0);
const placeOf = (sector: number): number => (sector - START_SECTOR) * SECTOR_SIZE;

function zero(parts: readonly Uint8Array[]): BlkStatus {
  for (const part of parts) part.fill(0);
  return 'okay';
}

/** Lets requests for places in a stream through one at a time, in the order of the places. */
class Turns {
  /** Place of the request that is next, or under way. */
  at = 0;
  #busy = false;
  #failed = false;
  readonly #waiting = new Map<number, (go: boolean) => void>();

  /** False: this place has been passed or is taken, or the stream is broken. */
  take(place: number): Promise<boolean> {
    const taken = place === this.at ? this.#busy : this.#waiting.has(place);
    if (this.#failed || place < this.at || taken) return Promise.resolve(false);
    if (place > this.at) return new Promise((resolve) => this.#waiting.set(place, resolve));
    this.#busy = true;
    return Promise.resolve(true);
  }

  /** The request under way is done, and was so long. */
  done(bytes: number): void {
    this.at += bytes;
    const next = this.#waiting.get(this.at);
    this.#waiting.delete(this.at);
    this.#busy = next !== undefined;
    next?.(true);
  }

  fail(): void {
    this.#failed = true;
    for (const refuse of this.#waiting.values()) refuse(false);
    this.#waiting.clear();
  }
}

/** What both have: a size, no discards. */
export abstract class StreamDisk implements BlockStore {
  readonly sectors = SECTORS;
  readonly physicalSectorSize = 4096;
  readonly discardGranularity = 0;
  abstract readonly readOnly: boolean;
  protected readonly turns = new Turns();
  protected failed = false;

  abstract read(sector: number, into: readonly Uint8Array[]): Promise<BlkStatus>;
  abstract write(sector: number, from: readonly Uint8Array[]): Promise<BlkStatus>;

  /** What is asked from now on, and what waits, is an error. */
  fail(): void {
    this.failed = true;
    this.turns.fail();
  }

  async flush(): Promise<BlkStatus> {
    return this.failed ? 'error' : 'okay';
  }

  async discard(): Promise<BlkStatus> {
    return 'unsupported';
  }
}

/** Bytes that are fed and not read yet, above which `feed` says that it is enough for now. */
const FED_MAX = 4 << 20;

/** The guest reads what is fed; behind the end it reads zeros. */
export class InputDisk extends StreamDisk {
  readonly readOnly = true;
  readonly #drained: () => void;
  readonly #fed: Uint8Array[] = [];
  #length = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  /** `drained` is called when more can be fed after `feed` returned false. */
  constructor(drained: () => void) {
    super();
    this.#drained = drained;
  }

  /** The bytes are kept, not copied. False: wait for `drained`. */
  feed(bytes: Uint8Array): boolean {
    if (this.#ended || this.failed) return true;
    this.#fed.push(bytes);
    this.#length += bytes.length;
    this.#wake?.();
    return this.#length < FED_MAX;
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  override fail(): void {
    super.fail();
    this.#wake?.();
  }

  async read(sector: number, into: readonly Uint8Array[]): Promise<BlkStatus> {
    const [place, bytes] = [placeOf(sector), bytesOf(into)];
    if (place < 0 || place > this.turns.at + AHEAD_MAX) return zero(into);
    if (!(await this.turns.take(place))) return 'error';
    while (this.#length < bytes && !this.#ended && !this.failed)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.failed) return 'error';
    const full = this.#length >= FED_MAX;
    for (const part of into) this.#fill(part);
    this.turns.done(bytes);
    if (full && this.#length < FED_MAX) this.#drained();
    return 'okay';
  }

  async write(): Promise<BlkStatus> {
    return 'error';
  }

  #fill(part: Uint8Array): void {
    let at = 0;
    for (let next = this.#fed[0]; next && at < part.length; next = this.#fed[0]) {
      const taken = next.subarray(0, part.length - at);
      part.set(taken, at);
      at += taken.length;
      this.#length -= taken.length;
      if (taken.length < next.length) this.#fed[0] = next.subarray(taken.length);
      else this.#fed.shift();
    }
    part.fill(0, at);
  }
}

/** What the guest writes is handed over; the guest waits where whoever takes it does. */
export class OutputDisk extends StreamDisk {
  readonly readOnly = false;
  readonly #take: (bytes: Uint8Array) => Promise<void> | undefined;

  /** `take` may keep the bytes; the promise resolves when there is room for more. */
  constructor(take: (bytes: Uint8Array) => Promise<void> | undefined) {
    super();
    this.#take = take;
  }

  async read(_sector: number, into: readonly Uint8Array[]): Promise<BlkStatus> {
    return zero(into);
  }

  async write(sector: number, from: readonly Uint8Array[]): Promise<BlkStatus> {
    if (!(await this.turns.take(placeOf(sector)))) return 'error';
    // Of pages that the guest may be changing: read once.
    const bytes = new Uint8Array(bytesOf(from));
    let at = 0;
    for (const part of from) {
      bytes.set(part, at);
      at += part.length;
    }
    const room = this.#take(bytes);
    this.turns.done(bytes.length);
    await room;
    return this.failed ? 'error' : 'okay';
  }
}
