/**
 * A connected block ring: takes requests, has them served several at a time, answers in the order in which they finish.
 * A bad request gets an error for an answer; indices that make no sense end the ring, and nothing else. pv-abi 8.1, 8.3.
 */
import { BLKIF_RSP, BLKIF_SLOT_SIZE, BlkifResponse, SharedRing } from '../../abi/rings.ts';
import { PAGE_SIZE } from '../../hypervisor/memory.ts';
import type { GuestPages } from '../guest.ts';
import type { BlkStatus, BlockStore } from './block-store.ts';
import { type DecodedRequest, decodeRequest } from './request.ts';
import { serve } from './serve.ts';
import { segmentsOf, takeFrames } from './transfer.ts';

export interface BlkRingPorts {
  readonly guest: GuestPages;
  /** Linear addresses of the ring's frames, which stay acquired as long as the ring is used: a power of two of them. */
  readonly frames: readonly number[];
  readonly disk: BlockStore;
  notify(): void;
  /** Run something in a later turn of the device thread. */
  later(run: () => void): void;
  /** The ring makes no sense; it takes no more requests. Called at most once, never from the constructor. */
  broken(why: string): void;
}

/** Requests under way at a time: more than the host's I/O threads can do at once. */
const IN_FLIGHT_MAX = 64;
/** Requests taken before everything else on the device thread gets its turn: those answered at once could go on forever. */
const TURN_MAX = 256;
export const SLOTS_PER_FRAME = 32;
const STATUS: Readonly<Record<BlkStatus, number>> = {
  okay: BLKIF_RSP.okay,
  error: BLKIF_RSP.error,
  unsupported: BLKIF_RSP.eopnotsupp,
};

export class BlkRing {
  readonly #ports: BlkRingPorts;
  readonly #slots: number;
  /** The first frame's words: all indices are there. */
  readonly #head: Uint32Array;
  readonly #view: DataView;
  #reqCons: number;
  #rspProd: number;
  #inFlight = 0;
  /** A barrier waits or is under way: nothing is taken. */
  #barrier = false;
  #takenThisTurn = 0;
  #state: 'running' | 'paused' | 'broken' = 'running';
  /** Called when no more requests are under way than each of them wants. */
  #waiting: { readonly atMost: number; readonly resolve: () => void }[] = [];

  /** Takes up the ring where the page says that answers end, as a restored domain needs it; a new ring is at zero. */
  constructor(ports: BlkRingPorts) {
    this.#ports = ports;
    this.#slots = SLOTS_PER_FRAME * ports.frames.length;
    this.#head = new Uint32Array(ports.guest.memory, ports.frames[0]!, SharedRing.size / 4);
    this.#view = new DataView(ports.guest.memory);
    this.#rspProd = this.#load(SharedRing.rsp_prod.offset);
    this.#reqCons = this.#rspProd;
  }

  /** The guest sent the ring's event, or there may be work for another reason. */
  onEvent(): void {
    while (this.#state === 'running' && !this.#barrier && this.#takenThisTurn < TURN_MAX) {
      const prod = this.#load(SharedRing.req_prod.offset);
      // Requests that are not answered yet, taken or not, all have a slot of their own.
      if ((prod - this.#rspProd) >>> 0 > this.#slots || (prod - this.#reqCons) >>> 0 > this.#slots) {
        this.#break(`the guest's ring claims ${(prod - this.#rspProd) >>> 0} open requests in ${this.#slots} slots`);
        return;
      }
      while (this.#reqCons !== prod && this.#mayTake()) this.#take();
      if (this.#reqCons !== prod) return; // Goes on when a request is done, or in the next turn.
      this.#store(SharedRing.req_event.offset, (this.#reqCons + 1) >>> 0);
      // The guest may have added requests before it could see that we want an event for them.
      if (this.#load(SharedRing.req_prod.offset) === prod) return;
    }
  }

  /** Take nothing more; resolves when everything taken is answered. */
  async pause(): Promise<void> {
    if (this.#state === 'running') this.#state = 'paused';
    await this.#untilAtMost(0);
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    this.onEvent();
  }

  #mayTake(): boolean {
    return this.#inFlight < IN_FLIGHT_MAX && !this.#barrier && this.#takenThisTurn < TURN_MAX;
  }

  #take(): void {
    if (++this.#takenThisTurn === TURN_MAX) {
      this.#ports.later(() => {
        this.#takenThisTurn = 0;
        this.onEvent();
      });
    }
    const request = decodeRequest(this.#copySlot(this.#reqCons % this.#slots));
    this.#reqCons = (this.#reqCons + 1) >>> 0;
    this.#inFlight++;
    const barrier = request.op === 'barrier' && !request.refused;
    if (barrier) this.#barrier = true;
    void this.#answer(request, barrier);
  }

  async #answer(request: DecodedRequest, barrier: boolean): Promise<void> {
    if (barrier) await this.#untilAtMost(1);
    const status = await (request.refused ?? this.#perform(request));
    if (barrier) this.#barrier = false;
    this.#respond(request, status);
    this.#inFlight--;
    const ready = this.#waiting.filter(({ atMost }) => this.#inFlight <= atMost);
    this.#waiting = this.#waiting.filter(({ atMost }) => this.#inFlight > atMost);
    for (const { resolve } of ready) resolve();
    this.onEvent();
  }

  async #perform(request: DecodedRequest): Promise<BlkStatus> {
    const { guest, disk } = this.#ports;
    const { op, sector, count } = request;
    const segments = segmentsOf(request, guest);
    if (!segments) return 'error';
    const transfer = takeFrames(segments, op === 'read', guest);
    if (!transfer) return 'error';
    const status = await serve({ op, sector, data: transfer.parts, ...(count === undefined ? {} : { count }) }, disk);
    transfer.done();
    return status;
  }

  #respond(request: DecodedRequest, status: BlkStatus): void {
    if (this.#state === 'broken') return;
    const at = this.#slotAddress(this.#rspProd % this.#slots, 0);
    BlkifResponse.id.set(this.#view, at, request.id);
    BlkifResponse.operation.set(this.#view, at, request.operation);
    BlkifResponse.status.set(this.#view, at, STATUS[status]);
    const old = this.#rspProd;
    this.#rspProd = (old + 1) >>> 0;
    this.#store(SharedRing.rsp_prod.offset, this.#rspProd);
    const event = this.#load(SharedRing.rsp_event.offset);
    if ((this.#rspProd - event) >>> 0 < (this.#rspProd - old) >>> 0) this.#ports.notify();
  }

  /** Linear address of byte `offset` of a slot. Slots lie across the frames as if those were one piece. */
  #slotAddress(slot: number, offset: number): number {
    const at = SharedRing.size + slot * BLKIF_SLOT_SIZE + offset;
    return this.#ports.frames[Math.floor(at / PAGE_SIZE)]! + (at % PAGE_SIZE);
  }

  #copySlot(slot: number): DataView {
    const copy = new Uint8Array(BLKIF_SLOT_SIZE);
    for (let done = 0; done < copy.length; ) {
      const from = this.#slotAddress(slot, done);
      const length = Math.min(copy.length - done, PAGE_SIZE - (from % PAGE_SIZE));
      copy.set(new Uint8Array(this.#ports.guest.memory, from, length), done);
      done += length;
    }
    return new DataView(copy.buffer);
  }

  #untilAtMost(atMost: number): Promise<void> {
    if (this.#inFlight <= atMost) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ atMost, resolve }));
  }

  #break(why: string): void {
    this.#state = 'broken';
    this.#ports.broken(why);
  }

  #load(offset: number): number {
    return Atomics.load(this.#head, offset >>> 2);
  }

  #store(offset: number, value: number): void {
    Atomics.store(this.#head, offset >>> 2, value);
  }
}
