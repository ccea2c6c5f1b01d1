/**
 * The CONTROL region: hypervisor state of one domain that its vCPU threads and its device thread share. It lies in the
 * domain's memory, so it is saved and copied with it. Whoever needs a place of his own adds it here.
 *
 * Every word is read and written with Atomics; what takes more than one word is changed under the lock named beside it.
 */
import { CONTROL_BASE, CONTROL_SIZE, type GuestMemory } from './memory.ts';

/** Linear-memory addresses. */
export const CONTROL = {
  /** Guards the port table. */
  eventLock: CONTROL_BASE + 0x40,
  /** Guards grant pins and the grant table's growth. */
  grantLock: CONTROL_BASE + 0x80,
  /** Counts wake-ups of the device thread; it may wait on this word. */
  backendWake: CONTROL_BASE + 0xc0,
  /** Frames of the grant table that setup_table has handed out. */
  grantFrames: CONTROL_BASE + 0x100,
  /** Pages that the domain owns now. */
  allocatedPages: CONTROL_BASE + 0x104,
  /** Bit per port: the guest sent to a port that is bound to domain 0, and the device thread has not seen it yet. */
  backendPending: CONTROL_BASE + 0x200,
  /** Per-vCPU records, see CONTROL_VCPU. */
  vcpus: CONTROL_BASE + 0x1000,
  /** Port table: 16 bytes for each of 4096 ports, see event-channels.ts. */
  ports: CONTROL_BASE + 0x10000,
  /** One word per grant reference: uses in the low half, those that write in the high half. */
  grantPins: CONTROL_BASE + 0x20000,
  /** Bit per frame of RAM: the domain owns it. */
  allocation: CONTROL_BASE + 0x40000,
  /** Frames with decoded code that the device thread wrote: a count and that many frame numbers, see code-writes.ts. */
  codeWrites: CONTROL_BASE + 0x60000,
  codeWritesLock: CONTROL_BASE + 0x140,
  /** 2048 records of 16 bytes: what the guest has mapped by grant, see grant-map.ts. */
  maptrack: CONTROL_BASE + 0x61000,
  /** Free up to `end`. */
  free: CONTROL_BASE + 0x69000,
  end: CONTROL_BASE + CONTROL_SIZE,
} as const;

/** Offsets in a per-vCPU record. */
export const CONTROL_VCPU = {
  size: 256,
  /** Linear-memory address of the vcpu_info in use. */
  infoAddress: 0,
  /** 1 while the vCPU is in SCHEDOP_poll. */
  polling: 4,
  /** What the device thread wants of the vCPU's thread: a VcpuCommand. */
  command: 8,
  /** What the vCPU's thread is doing: a VcpuActivity. */
  activity: 12,
  /** f64: nanoseconds of CPU time used up to `runningSince`, and when (domain clock) the vCPU last began to run. */
  cpuTime: 16,
  runningSince: 24,
  /** How much of a CPU the domain may use, in percent (may be above 100); 0: no limit. */
  cap: 32,
  /** Not 0: a profile is being made; the vCPU's thread notes where it is at each look. 1 + N: it is to tell of N regions as well. */
  profile: 40,
  /** 1: an NMI was asked for from outside. */
  nmi: 36,
  /** Port of each of the 24 per-vCPU virtual interrupts, 0 when it is not bound. Global ones are in vCPU 0's record. */
  virqPorts: 0x40,
} as const;
/** `look`: run on, after looking at this record again. */
export const VcpuCommand = { run: 0, pause: 1, stop: 2, look: 3 } as const;
export const VcpuActivity = { idle: 0, running: 1, paused: 2, ended: 3 } as const;
export const CONTROL_VCPUS_MAX = (CONTROL.ports - CONTROL.vcpus) / CONTROL_VCPU.size;

/** Linear-memory address of field `offset` of vCPU `id`'s record. */
export function controlVcpu(id: number, offset: number): number {
  return CONTROL.vcpus + id * CONTROL_VCPU.size + offset;
}

const WAIT_MS = 100;

/** A lock of one word: 0 free, 1 held, 2 held and waited for. Held for microseconds only; not to be taken twice. */
export class Lock {
  private readonly words: Int32Array;
  private readonly index: number;

  constructor(memory: GuestMemory, address: number) {
    this.words = memory.i32;
    this.index = address >>> 2;
  }

  with<T>(body: () => T): T {
    let seen = Atomics.compareExchange(this.words, this.index, 0, 1);
    while (seen !== 0) {
      if (seen === 2 || Atomics.compareExchange(this.words, this.index, 1, 2) !== 0) {
        // The holder wakes us. The limit only bounds the harm if that should ever go wrong.
        Atomics.wait(this.words, this.index, 2, WAIT_MS);
      }
      seen = Atomics.compareExchange(this.words, this.index, 0, 2);
    }
    try {
      return body();
    } finally {
      if (Atomics.exchange(this.words, this.index, 0) === 2) Atomics.notify(this.words, this.index, 1);
    }
  }
}
