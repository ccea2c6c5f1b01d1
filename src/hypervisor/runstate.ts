/**
 * What a vCPU has been doing with its time, for the guest's steal-time accounting. Follows pv-abi 2.12 and 4.4.
 */
import { RUNSTATE, RUNSTATE_UPDATE, VMASST } from '../abi/numbers.ts';
import { VcpuRunstateInfo } from '../abi/shared-info.ts';
import type { GuestCpu } from './ports.ts';

export class Runstate {
  state: number = RUNSTATE.offline;
  /** When `state` began, ns. */
  entered = 0;
  /** Nanoseconds in each state, without the running one's present stay. */
  readonly times = [0, 0, 0, 0];
  /** Guest-virtual address of the copy that the guest registered, 0 for none. */
  area = 0n;

  /** Move to `state` (RUNSTATE), and tell the guest. */
  change(vcpu: GuestCpu, state: number, now: number): void {
    if (state === this.state) return;
    this.times[this.state]! += Math.max(0, now - this.entered);
    this.state = state;
    this.entered = now;
    this.publish(vcpu);
  }

  /** Write the registered copy. With runstate_update_flag the guest can see that it is being written. */
  publish(vcpu: GuestCpu): void {
    if (this.area === 0n) return;
    const view = this.structure(this.entered);
    const marked = (vcpu.domain.vmAssist & (1 << VMASST.runstate_update_flag)) !== 0;
    if (marked) {
      const entry = VcpuRunstateInfo.state_entry_time;
      const final = entry.get(view, 0);
      entry.set(view, 0, final | RUNSTATE_UPDATE);
      const mark = new Uint8Array(view.buffer, entry.offset, 8);
      // The mark first, then everything with the mark still on, then the mark off.
      if (!vcpu.writeGuest(this.area + BigInt(entry.offset), mark)) return;
      vcpu.writeGuest(this.area, new Uint8Array(view.buffer));
      entry.set(view, 0, final);
      vcpu.writeGuest(this.area + BigInt(entry.offset), mark);
    } else {
      vcpu.writeGuest(this.area, new Uint8Array(view.buffer));
    }
  }

  /** The structure as of `now`: the present state's time counted up to it. */
  structure(now: number): DataView {
    const view = new DataView(new ArrayBuffer(VcpuRunstateInfo.size));
    VcpuRunstateInfo.state.set(view, 0, this.state);
    VcpuRunstateInfo.state_entry_time.set(view, 0, BigInt(this.entered));
    this.times.forEach((time, state) => {
      const total = state === this.state ? time + Math.max(0, now - this.entered) : time;
      view.setBigUint64(VcpuRunstateInfo.time_running.offset + 8 * state, BigInt(total), true);
    });
    return view;
  }
}
