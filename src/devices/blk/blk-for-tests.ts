/**
 * For tests: a guest that has no CPU but real memory, grants, event channels and a store, with block frontends that behave
 * only as well as the test wants; and a disk in memory.
 */
import {
  BLKIF_OP,
  BLKIF_SEGMENTS_OFFSET,
  BLKIF_SLOT_SIZE,
  BlkifDiscard,
  BlkifIndirect,
  BlkifRequest,
  BlkifResponse,
  BlkifSegment,
  SharedRing,
} from '../../abi/rings.ts';
import { allocateInitial } from '../../hypervisor/allocation.ts';
import { CodeWrites } from '../../hypervisor/code-writes.ts';
import { EventChannels } from '../../hypervisor/event-channels.ts';
import { GrantTable } from '../../hypervisor/grant-table.ts';
import { GuestMemory, PAGE_SIZE, planLayout } from '../../hypervisor/memory.ts';
import { connectLocally, type StoreClient } from '../../store/client.ts';
import { Store } from '../../store/store.ts';
import { BackendEvents, type GuestPages, guestPages } from '../guest.ts';
import { type BlkStatus, type BlockStore, SECTOR_SIZE } from './block-store.ts';
import { SLOTS_PER_FRAME } from './ring.ts';
import { Vbd } from './vbd.ts';

export const DOMID = 5;
const PAGES = 512;

export class MemoryDisk implements BlockStore {
  bytes: Uint8Array;
  readOnly = false;
  physicalSectorSize = 512;
  discardGranularity = 0;
  /** What was asked of the disk, in order. */
  readonly calls: string[] = [];
  /** The disk's answers wait for this, so that a test can look at requests under way. */
  gate: Promise<void> = Promise.resolve();

  constructor(sectors: number) {
    this.bytes = new Uint8Array(sectors * SECTOR_SIZE);
  }

  get sectors(): number {
    return this.bytes.length / SECTOR_SIZE;
  }

  async read(sector: number, into: readonly Uint8Array[]): Promise<BlkStatus> {
    this.calls.push(`read ${sector} ${into.map((part) => part.length).join('+')}`);
    await this.gate;
    let at = sector * SECTOR_SIZE;
    for (const part of into) {
      part.set(this.bytes.subarray(at, at + part.length));
      at += part.length;
    }
    return 'okay';
  }

  async write(sector: number, from: readonly Uint8Array[]): Promise<BlkStatus> {
    this.calls.push(`write ${sector} ${from.map((part) => part.length).join('+')}`);
    await this.gate;
    let at = sector * SECTOR_SIZE;
    for (const part of from) {
      this.bytes.set(part, at);
      at += part.length;
    }
    return 'okay';
  }

  async flush(): Promise<BlkStatus> {
    this.calls.push('flush');
    await this.gate;
    return 'okay';
  }

  async discard(sector: number, count: number): Promise<BlkStatus> {
    this.calls.push(`discard ${sector} ${count}`);
    this.bytes.fill(0, sector * SECTOR_SIZE, (sector + count) * SECTOR_SIZE);
    return 'okay';
  }
}

export class TestGuest {
  readonly memory: GuestMemory;
  readonly grants: GrantTable;
  readonly events: EventChannels;
  readonly backends: BackendEvents;
  readonly code: CodeWrites;
  readonly pages: GuestPages;
  readonly store = new Store();
  readonly client: StoreClient;
  readonly log: string[] = [];
  #nextFrame = 1;
  #nextGref = 8;

  /** `later` is setImmediate, which the core does not know. */
  constructor(later: (run: () => void) => void) {
    const layout = planLayout(PAGES, 1);
    this.memory = new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
    allocateInitial(this.memory, PAGES);
    this.grants = new GrantTable(this.memory, DOMID);
    this.events = new EventChannels(this.memory, DOMID, () => later(() => this.backends.dispatch()));
    this.backends = new BackendEvents(this.events, later);
    this.code = new CodeWrites(this.memory);
    this.pages = guestPages(this.memory, this.grants, this.code);
    this.client = connectLocally(this.store);
  }

  newFrame(): number {
    return this.#nextFrame++;
  }

  /** Grant a frame to domain 0. */
  grant(frame: number, readOnly = false): number {
    const gref = this.#nextGref++;
    const at = this.memory.at(this.grants.mfn(0)) + gref * 8;
    this.memory.view.setUint32(at + 4, frame, true);
    this.memory.view.setUint16(at + 2, 0, true);
    this.memory.view.setUint16(at, 1 | (readOnly ? 4 : 0), true);
    return gref;
  }

  /** Is the grant's use over, so that the guest could take the frame back? */
  grantIsFree(gref: number): boolean {
    const flags = this.memory.view.getUint16(this.memory.at(this.grants.mfn(0)) + gref * 8, true);
    return (flags & 0x18) === 0 && !this.grants.inUse(gref);
  }

  /** What the toolstack writes for a disk; the backend's object, started. */
  async addDisk(vdev: number, disk: BlockStore, gone: () => void = () => {}): Promise<Vbd> {
    const back = backOf(vdev);
    await this.client.transaction(async (view) => {
      await view.writeAll(back, { frontend: frontOf(vdev), 'frontend-id': DOMID, online: 1, state: 1 });
      await view.writeAll(frontOf(vdev), { backend: back, 'backend-id': 0, state: 1 });
    });
    const vbd = new Vbd({
      store: this.client,
      guest: this.pages,
      events: this.backends,
      disk,
      back,
      name: `disk ${vdev}`,
      log: (level, text) => this.log.push(`${level} ${text}`),
      gone,
    });
    await vbd.start();
    return vbd;
  }

  /** Resolves when the backend of `vdev` is in a state. */
  async backIs(vdev: number, state: number): Promise<void> {
    await this.client.waitFor(`${backOf(vdev)}/state`, (value) => value === `${state}`).value;
  }
}

export const backOf = (vdev: number) => `/local/domain/0/backend/vbd/${DOMID}/${vdev}`;
export const frontOf = (vdev: number) => `/local/domain/${DOMID}/device/vbd/${vdev}`;

export interface SegmentSpec {
  readonly gref: number;
  readonly first?: number;
  readonly last?: number;
}

export interface Response {
  readonly id: bigint;
  readonly operation: number;
  readonly status: number;
}

/** A ring as Linux would have it, with every index and slot in the test's hands. */
export class Frontend {
  readonly guest: TestGuest;
  readonly vdev: number;
  readonly frames: number[];
  readonly grefs: number[];
  readonly port: number;
  readonly slots: number;
  reqProd = 0;
  rspCons = 0;
  #nextId = 0x1_0000_0000n;

  constructor(guest: TestGuest, vdev: number, order = 0) {
    this.guest = guest;
    this.vdev = vdev;
    this.frames = Array.from({ length: 1 << order }, () => guest.newFrame());
    // Apart from each other, so that a backend which takes them for one piece is found out.
    for (const frame of this.frames) {
      guest.newFrame();
      guest.memory.frame(frame).fill(0);
    }
    this.grefs = this.frames.map((frame) => guest.grant(frame));
    this.port = guest.events.allocUnbound(0);
    this.slots = SLOTS_PER_FRAME << order;
    this.setIndex('req_event', 1);
    this.setIndex('rsp_event', 1);
  }

  async connect(keys: Record<string, string | number> = {}): Promise<void> {
    const rings: Record<string, number> =
      this.grefs.length === 1
        ? { 'ring-ref': this.grefs[0]! }
        : {
            'ring-page-order': Math.log2(this.grefs.length),
            ...Object.fromEntries(this.grefs.map((gref, i) => [`ring-ref${i}`, gref])),
          };
    const front = { ...rings, 'event-channel': this.port, protocol: 'x86_64-abi', 'feature-persistent': 1, ...keys };
    await this.guest.client.transaction(async (view) => {
      await view.writeAll(frontOf(this.vdev), front);
      await view.write(`${frontOf(this.vdev)}/state`, 3);
    });
  }

  async setState(state: number): Promise<void> {
    await this.guest.client.write(`${frontOf(this.vdev)}/state`, state);
  }

  /** Through the whole handshake. */
  async open(): Promise<void> {
    await this.connect();
    await this.guest.backIs(this.vdev, 4);
    await this.setState(4);
  }

  index(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event'): number {
    return SharedRing[name].get(this.guest.memory.view, this.guest.memory.at(this.frames[0]!));
  }

  setIndex(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event', value: number): void {
    SharedRing[name].set(this.guest.memory.view, this.guest.memory.at(this.frames[0]!), value);
  }

  /** Put a slot's 112 bytes. */
  put(slot: Uint8Array): void {
    this.#eachByte(this.reqProd, BLKIF_SLOT_SIZE, (address, i) => {
      this.guest.memory.u8[address] = slot[i]!;
    });
    this.reqProd = (this.reqProd + 1) >>> 0;
  }

  /** Show the requests to the backend, with an event if it wants one. */
  push(): void {
    const old = this.index('req_prod');
    this.setIndex('req_prod', this.reqProd);
    if ((this.reqProd - this.index('req_event')) >>> 0 < (this.reqProd - old) >>> 0) this.guest.events.send(this.port);
  }

  rw(operation: number, sector: number | bigint, segments: readonly SegmentSpec[], count = segments.length): bigint {
    const id = this.#nextId++;
    const slot = new DataView(new ArrayBuffer(BLKIF_SLOT_SIZE));
    BlkifRequest.operation.set(slot, 0, operation);
    BlkifRequest.nr_segments.set(slot, 0, count);
    BlkifRequest.id.set(slot, 0, id);
    BlkifRequest.sector_number.set(slot, 0, BigInt(sector));
    putSegments(slot, BLKIF_SEGMENTS_OFFSET, segments);
    this.put(new Uint8Array(slot.buffer));
    return id;
  }

  indirect(
    operation: number,
    sector: number,
    segments: readonly SegmentSpec[],
    { count = segments.length, gref }: { count?: number; gref?: number } = {},
  ): bigint {
    const id = this.#nextId++;
    const frame = this.guest.newFrame();
    putSegments(new DataView(this.guest.memory.buffer, this.guest.memory.at(frame), PAGE_SIZE), 0, segments);
    const slot = new DataView(new ArrayBuffer(BLKIF_SLOT_SIZE));
    BlkifIndirect.operation.set(slot, 0, BLKIF_OP.indirect);
    BlkifIndirect.indirect_op.set(slot, 0, operation);
    BlkifIndirect.nr_segments.set(slot, 0, count);
    BlkifIndirect.id.set(slot, 0, id);
    BlkifIndirect.sector_number.set(slot, 0, BigInt(sector));
    BlkifIndirect.indirect_grefs.set(slot, 0, gref ?? this.guest.grant(frame, true));
    this.put(new Uint8Array(slot.buffer));
    return id;
  }

  discard(sector: number | bigint, count: number | bigint, flag = 0): bigint {
    const id = this.#nextId++;
    const slot = new DataView(new ArrayBuffer(BLKIF_SLOT_SIZE));
    BlkifDiscard.operation.set(slot, 0, BLKIF_OP.discard);
    BlkifDiscard.flag.set(slot, 0, flag);
    BlkifDiscard.id.set(slot, 0, id);
    BlkifDiscard.sector_number.set(slot, 0, BigInt(sector));
    BlkifDiscard.nr_sectors.set(slot, 0, BigInt(count));
    this.put(new Uint8Array(slot.buffer));
    return id;
  }

  /** The responses since the last call. */
  responses(): Response[] {
    const responses: Response[] = [];
    for (const prod = this.index('rsp_prod'); this.rspCons !== prod; this.rspCons = (this.rspCons + 1) >>> 0) {
      const copy = new Uint8Array(BlkifResponse.size);
      this.#eachByte(this.rspCons, copy.length, (address, i) => {
        copy[i] = this.guest.memory.u8[address]!;
      });
      const view = new DataView(copy.buffer);
      responses.push({
        id: BlkifResponse.id.get(view, 0),
        operation: BlkifResponse.operation.get(view, 0),
        status: BlkifResponse.status.get(view, 0),
      });
    }
    this.setIndex('rsp_event', (this.rspCons + 1) >>> 0);
    return responses;
  }

  #eachByte(index: number, length: number, visit: (address: number, i: number) => void): void {
    for (let i = 0; i < length; i++) {
      const at = SharedRing.size + (index % this.slots) * BLKIF_SLOT_SIZE + i;
      visit(this.guest.memory.at(this.frames[Math.floor(at / PAGE_SIZE)]!) + (at % PAGE_SIZE), i);
    }
  }
}

function putSegments(view: DataView, offset: number, segments: readonly SegmentSpec[]): void {
  for (const [i, { gref, first = 0, last = 7 }] of segments.entries()) {
    const at = offset + i * BlkifSegment.size;
    if (at + BlkifSegment.size > view.byteLength) return;
    BlkifSegment.gref.set(view, at, gref);
    BlkifSegment.first_sect.set(view, at, first);
    BlkifSegment.last_sect.set(view, at, last);
  }
}
