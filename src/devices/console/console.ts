/**
 * The PV console's backend: bytes between the guest's ring and a sink and source in the monitor. Output leaves the ring only
 * when the sink has taken it, so a sink that is full slows the guest down and loses nothing. The guest may spoil the indices:
 * ours are kept here, its are read once and checked. Scrollback, log and watchers are the sink's. Follows pv-abi 8.2.
 */
import { CONSOLE_RING_BYTES, ConsoleRing } from '../../abi/rings.ts';
import type { GuestMemory } from '../../hypervisor/memory.ts';

export interface ConsolePorts {
  readonly memory: Pick<GuestMemory, 'buffer' | 'at'>;
  /** The ring's frame; the caller has checked that it is one. */
  readonly frame: number;
  /** Sends the guest the console's event. */
  notify(): void;
  /**
   * Takes output, before it returns, and says how many bytes; after taking less than all, it calls `drain` when there is
   * room.
   */
  output(bytes: Uint8Array): number;
  /** Input can be offered again after `input` took less than all. */
  inputReady?(): void;
  log(level: 'warn', text: string): void;
}

const { in: IN, out: OUT } = CONSOLE_RING_BYTES;
/** Input that waits for room in the ring. */
const QUEUE_MAX = 4096;
/** Output that is taken in one go, before others have their turn. */
const BURST = 128 << 10;
/** A guest that writes so much at once is likely to write more: Linux's driver does so when much is printed. */
const PIECE = 256;
/**
 * Looks at the ring before it is believed that no more comes now: some ten microseconds, half of what it takes to be woken by
 * the guest's next event. With it, a guest that floods its console gets through four times as much.
 */
const PATIENCE = 2000;

export class ConsoleBackend {
  readonly #ports: ConsolePorts;
  readonly #u32: Uint32Array;
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  readonly #chunk = new Uint8Array(OUT.size);
  #outCons: number;
  /** What it was before: the guest may have looked at it then. */
  #outConsBefore: number;
  #inProd: number;
  #queue = new Uint8Array(0);
  #refused = false;
  #warned = false;

  /** Takes up the ring where the page says it is: at zero in a new domain. */
  constructor(ports: ConsolePorts) {
    this.#ports = ports;
    const { buffer } = ports.memory;
    const base = ports.memory.at(ports.frame);
    this.#u32 = new Uint32Array(buffer, base, 1024);
    this.#in = new Uint8Array(buffer, base + IN.offset, IN.size);
    this.#out = new Uint8Array(buffer, base + OUT.offset, OUT.size);
    this.#outCons = this.#load(ConsoleRing.out_cons.offset);
    this.#outConsBefore = this.#outCons;
    this.#inProd = this.#load(ConsoleRing.in_prod.offset);
  }

  /** The guest sent the console's event: it has written output, or has read input. */
  onEvent(): void {
    this.drain();
    // An event without news makes Linux take longer over the next ones.
    if (this.#putInput()) this.#ports.notify();
    if (this.#refused && this.#queue.length === 0) {
      this.#refused = false;
      this.#ports.inputReady?.();
    }
  }

  /** Take the output that there is. Also to be called when a sink that was full has room again. */
  drain(): void {
    let patience = 0;
    for (let burst = BURST; burst > 0; ) {
      const taken = this.#takeOutput();
      burst -= taken;
      if (taken >= PIECE) patience = PATIENCE;
      else if (taken > 0 || --patience < 0) return;
    }
  }

  /** Offer input; says how many bytes were taken. Those are typed in order, whatever happens to the rest. */
  input(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, QUEUE_MAX - this.#queue.length);
    if (taken < bytes.length) this.#refused = true;
    if (taken === 0) return 0;
    const queue = new Uint8Array(this.#queue.length + taken);
    queue.set(this.#queue);
    queue.set(bytes.subarray(0, taken), this.#queue.length);
    this.#queue = queue;
    if (this.#putInput()) this.#ports.notify();
    return taken;
  }

  /** How many bytes were taken. What the guest adds after we read its index is followed by another event. */
  #takeOutput(): number {
    const prod = this.#load(ConsoleRing.out_prod.offset);
    const length = (prod - this.#outCons) >>> 0;
    if (length === 0) return 0;
    if (length > OUT.size) {
      // No bytes can be told from such an index; begin again where the guest says it is.
      this.#warn(`the guest's console ring claims ${length} bytes of output in ${OUT.size}`);
      this.#outCons = this.#outConsBefore = prod;
      this.#store(ConsoleRing.out_cons.offset, prod);
      return 0;
    }
    // A guest waits for an event when it found the ring full, with the index that we wrote last or the one before.
    const full = (prod - this.#outConsBefore) >>> 0 >= OUT.size;
    const start = this.#outCons & (OUT.size - 1);
    const first = Math.min(length, OUT.size - start);
    this.#chunk.set(this.#out.subarray(start, start + first));
    this.#chunk.set(this.#out.subarray(0, length - first), first);
    const taken = this.#ports.output(this.#chunk.subarray(0, length));
    if (taken === 0) return 0;
    this.#outConsBefore = this.#outCons;
    this.#outCons = (this.#outCons + taken) >>> 0;
    this.#store(ConsoleRing.out_cons.offset, this.#outCons);
    if (full || taken < length) this.#ports.notify();
    return taken;
  }

  #putInput(): boolean {
    if (this.#queue.length === 0) return false;
    const used = (this.#inProd - this.#load(ConsoleRing.in_cons.offset)) >>> 0;
    if (used > IN.size) {
      this.#warn(`the guest's console ring claims ${used} bytes of input in ${IN.size}`);
      this.#queue = new Uint8Array(0);
      return false;
    }
    // Linux takes 16 bytes, sends an event and takes more when it gets one: filling up at once is twice as fast as waiting.
    const length = Math.min(this.#queue.length, IN.size - used);
    if (length === 0) return false;
    const start = this.#inProd & (IN.size - 1);
    const first = Math.min(length, IN.size - start);
    this.#in.set(this.#queue.subarray(0, first), start);
    this.#in.set(this.#queue.subarray(first, length), 0);
    this.#queue = this.#queue.subarray(length);
    this.#inProd = (this.#inProd + length) >>> 0;
    this.#store(ConsoleRing.in_prod.offset, this.#inProd);
    return true;
  }

  #warn(text: string): void {
    if (!this.#warned) this.#ports.log('warn', text);
    this.#warned = true;
  }

  #load(offset: number): number {
    return Atomics.load(this.#u32, offset >>> 2);
  }

  #store(offset: number, value: number): void {
    Atomics.store(this.#u32, offset >>> 2, value);
  }
}
