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
  /** Takes output and says how many bytes; after taking less than all, it calls `drain` when there is room. */
  output(bytes: Uint8Array): number;
  /** Input can be offered again after `input` took less than all. */
  inputReady?(): void;
  log(level: 'warn', text: string): void;
}

const { in: IN, out: OUT } = CONSOLE_RING_BYTES;
/** Input that waits for room in the ring. */
const QUEUE_MAX = 4096;

export class ConsoleBackend {
  readonly #ports: ConsolePorts;
  readonly #u32: Uint32Array;
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  #outCons: number;
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
    this.#inProd = this.#load(ConsoleRing.in_prod.offset);
  }

  /** The guest sent the console's event: it has written output, or has read input. */
  onEvent(): void {
    const consumed = this.#takeOutput();
    const produced = this.#putInput();
    // An event without news makes Linux take longer over the next ones.
    if (consumed || produced) this.#ports.notify();
    if (this.#refused && this.#queue.length === 0) {
      this.#refused = false;
      this.#ports.inputReady?.();
    }
  }

  /** The sink has room again. */
  drain(): void {
    if (this.#takeOutput()) this.#ports.notify();
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

  // One pass is enough: what the guest adds after we read its index is followed by another event.
  #takeOutput(): boolean {
    const prod = this.#load(ConsoleRing.out_prod.offset);
    const length = (prod - this.#outCons) >>> 0;
    if (length === 0) return false;
    if (length > OUT.size) {
      // No bytes can be told from such an index; begin again where the guest says it is.
      this.#warn(`the guest's console ring claims ${length} bytes of output in ${OUT.size}`);
      this.#outCons = prod;
      this.#store(ConsoleRing.out_cons.offset, prod);
      return false;
    }
    const start = this.#outCons & (OUT.size - 1);
    const chunk = new Uint8Array(length);
    const first = Math.min(length, OUT.size - start);
    chunk.set(this.#out.subarray(start, start + first));
    chunk.set(this.#out.subarray(0, length - first), first);
    const taken = this.#ports.output(chunk);
    if (taken === 0) return false;
    this.#outCons = (this.#outCons + taken) >>> 0;
    this.#store(ConsoleRing.out_cons.offset, this.#outCons);
    return true;
  }

  #putInput(): boolean {
    if (this.#queue.length === 0) return false;
    const used = (this.#inProd - this.#load(ConsoleRing.in_cons.offset)) >>> 0;
    if (used > IN.size) {
      this.#warn(`the guest's console ring claims ${used} bytes of input in ${IN.size}`);
      this.#queue = new Uint8Array(0);
      return false;
    }
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
