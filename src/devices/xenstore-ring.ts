/**
 * The guest's xenstore ring as a byte stream. Indices are the guest's to spoil: each is read once, checked, and our own two
 * are kept here, so that a guest which overwrites them harms itself only. Knows nothing of messages. pv-abi 7.1.
 */
import { XENSTORE_RING_BYTES, XenstoreRing } from '../abi/rings.ts';
import type { GuestMemory } from '../hypervisor/memory.ts';
import type { ByteStream, StreamHandlers } from '../store/stream.ts';

export interface XenstoreRingPorts {
  readonly memory: GuestMemory;
  /** The ring's frame; the caller has checked that it is one. */
  readonly frame: number;
  /** Sends the guest the ring's event. */
  notify(): void;
  /** The guest asked to begin anew: both directions are empty again, and whatever served the old connection must go. */
  restarted?(): void;
}

const FEATURE = { reconnection: 1, errorField: 2, watchDepth: 4 } as const;
const CONNECTION = { connected: 0, reconnect: 1 } as const;
const RING_ERROR = { none: 0, communication: 1, ringIndex: 2, protocol: 3 } as const;
const { req: REQ, rsp: RSP } = XENSTORE_RING_BYTES;

export class XenstoreRingStream implements ByteStream {
  readonly #ports: XenstoreRingPorts;
  readonly #base: number;
  #handlers: StreamHandlers | undefined;
  /** What we consumed and produced; the page has copies for the guest. */
  #reqCons: number;
  #rspProd: number;
  #queue: Uint8Array[] = [];
  #paused = false;
  #closed = false;
  /** `write` has said that it is full, and the writer waits for `drained`. */
  #writerWaits = false;

  /** Takes up the ring where the page says it is: at zero in a new domain. */
  constructor(ports: XenstoreRingPorts) {
    this.#ports = ports;
    this.#base = ports.memory.at(ports.frame);
    this.#reqCons = this.#load(XenstoreRing.req_cons.offset);
    this.#rspProd = this.#load(XenstoreRing.rsp_prod.offset);
    this.#store(XenstoreRing.server_features.offset, FEATURE.reconnection | FEATURE.errorField | FEATURE.watchDepth);
  }

  attach(handlers: StreamHandlers): void {
    this.#handlers = handlers;
    // The guest may have written before anybody listened.
    this.onEvent();
  }

  /** The guest sent the ring's event. */
  onEvent(): void {
    if (this.#load(XenstoreRing.connection.offset) === CONNECTION.reconnect) this.#restart();
    if (!this.#handlers || this.#closed) return;
    if (this.#produce()) this.#ports.notify();
    this.#tellDrained();
    this.#consume();
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed) return true;
    if (bytes.length > 0) this.#queue.push(bytes);
    if (this.#produce()) this.#ports.notify();
    // What waited may have found room just now, without any event of the guest's.
    this.#tellDrained();
    if (this.#queue.length === 0) return true;
    this.#writerWaits = true;
    return false;
  }

  #tellDrained(): void {
    if (!this.#writerWaits || this.#queue.length > 0) return;
    this.#writerWaits = false;
    this.#handlers?.drained();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#consume();
  }

  /** The guest is told that the connection ended: only its own protocol violation leads here while it runs. */
  close(): void {
    this.#stop(RING_ERROR.protocol);
  }

  /**
   * Linux sends an event for a request only when it finds the ring empty before it: one that it adds while we take those before
   * it comes without. So we look again after each time that we have moved our index, until there is nothing.
   */
  #consume(): void {
    while (this.#takeRequests());
  }

  /** Hands over what is in the ring; false when there was nothing, or nobody to take more. */
  #takeRequests(): boolean {
    if (this.#closed || this.#paused || !this.#handlers) return false;
    const prod = this.#load(XenstoreRing.req_prod.offset);
    const length = (prod - this.#reqCons) >>> 0;
    if (length === 0) return false;
    if (length > REQ.size) {
      this.#fail();
      return false;
    }
    const chunk = new Uint8Array(length);
    const start = this.#reqCons & (REQ.size - 1);
    const first = Math.min(length, REQ.size - start);
    const { u8 } = this.#ports.memory;
    const from = this.#base + REQ.offset;
    chunk.set(u8.subarray(from + start, from + start + first));
    chunk.set(u8.subarray(from, from + length - first), first);
    this.#reqCons = prod;
    this.#store(XenstoreRing.req_cons.offset, prod);
    this.#ports.notify();
    this.#handlers.bytes(chunk);
    return true;
  }

  /** Moves queued bytes into the ring as long as there is room; says whether there was any. */
  #produce(): boolean {
    let moved = false;
    // Linux sends an event for what it took out only when it finds the ring full afterwards. Had it looked before we filled
    // the ring, nobody would come back to us: so we look again at what it took after each filling.
    while (this.#fill()) moved = true;
    return moved;
  }

  #fill(): boolean {
    if (this.#closed || this.#queue.length === 0) return false;
    const used = (this.#rspProd - this.#load(XenstoreRing.rsp_cons.offset)) >>> 0;
    if (used > RSP.size) {
      this.#fail();
      return false;
    }
    let free = RSP.size - used;
    if (free === 0) return false;
    const { u8 } = this.#ports.memory;
    const to = this.#base + RSP.offset;
    while (free > 0 && this.#queue.length > 0) {
      const head = this.#queue[0]!;
      const start = this.#rspProd & (RSP.size - 1);
      const part = head.subarray(0, Math.min(head.length, free, RSP.size - start));
      u8.set(part, to + start);
      this.#rspProd = (this.#rspProd + part.length) >>> 0;
      free -= part.length;
      if (part.length === head.length) this.#queue.shift();
      else this.#queue[0] = head.subarray(part.length);
    }
    this.#store(XenstoreRing.rsp_prod.offset, this.#rspProd);
    return true;
  }

  #fail(): void {
    const handlers = this.#handlers;
    this.#stop(RING_ERROR.ringIndex);
    handlers?.closed();
  }

  #stop(error: number): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#writerWaits = false;
    this.#store(XenstoreRing.error.offset, error);
    this.#ports.notify();
  }

  #restart(): void {
    const { req_cons, req_prod, rsp_cons, rsp_prod, error, connection } = XenstoreRing;
    for (const field of [req_cons, req_prod, rsp_cons, rsp_prod, error]) this.#store(field.offset, 0);
    this.#reqCons = 0;
    this.#rspProd = 0;
    this.#queue = [];
    this.#writerWaits = false;
    this.#paused = false;
    this.#closed = false;
    this.#store(connection.offset, CONNECTION.connected);
    this.#ports.restarted?.();
    this.#ports.notify();
  }

  #load(offset: number): number {
    return Atomics.load(this.#ports.memory.u32, (this.#base + offset) >>> 2);
  }

  #store(offset: number, value: number): void {
    Atomics.store(this.#ports.memory.u32, (this.#base + offset) >>> 2, value);
  }
}
