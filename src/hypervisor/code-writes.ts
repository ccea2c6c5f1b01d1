/**
 * Tells a vCPU's engine that the device thread has written to frames from which code was decoded. The engine looks whenever
 * it is entered; the writer kicks the vCPU, so that it is entered soon: before the guest can hear of the finished request.
 */

import { STATE } from '../x86/state.ts';
import { CONTROL, Lock } from './control.ts';
import type { GuestMemory } from './memory.ts';

const CAPACITY = 1000;

export class CodeWrites {
  private readonly memory: GuestMemory;
  private readonly lock: Lock;

  constructor(memory: GuestMemory) {
    this.memory = memory;
    this.lock = new Lock(memory, CONTROL.codeWritesLock);
  }

  /** `frame` was written by a device. Cheap when no code was decoded from it. */
  report(frame: number): void {
    if (this.memory.frameFlags[frame] === 0) return;
    const at = CONTROL.codeWrites >>> 2;
    const { i32 } = this.memory;
    this.lock.with(() => {
      const count = i32[at]!;
      // Beyond the capacity the count says "everything".
      if (count < CAPACITY) i32[at + 1 + count] = frame;
      Atomics.store(i32, at, Math.min(count + 1, CAPACITY + 1));
    });
    const kick = (this.memory.vcpuBase(0) + STATE.kick) >>> 2;
    Atomics.store(i32, kick, 1);
    Atomics.notify(i32, kick);
  }

  /** Calls `drop` for every frame reported since the last time, or `dropAll` when there were too many. */
  take(drop: (frame: number) => void, dropAll: () => void): void {
    const at = CONTROL.codeWrites >>> 2;
    const { i32 } = this.memory;
    if (Atomics.load(i32, at) === 0) return;
    const frames: number[] = [];
    let all = false;
    this.lock.with(() => {
      const count = i32[at]!;
      all = count > CAPACITY;
      for (let k = 0; k < Math.min(count, CAPACITY); k++) frames.push(i32[at + 1 + k]!);
      Atomics.store(i32, at, 0);
    });
    if (all) dropAll();
    else for (const frame of frames) drop(frame);
  }
}
