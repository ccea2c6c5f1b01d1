/**
 * Long hypercalls come in pieces: the guest says how many entries there are, and nothing else runs on the vCPU's thread
 * meanwhile, neither its timers nor whoever wants to pause it. A call that has done enough leaves its arguments as they are for
 * the rest, and the guest makes the call again when it is let run: RIP goes back to the instruction. In a multicall the entry
 * is what changes, and the multicall that is made again. Guests cannot tell, as on Xen.
 */

/** Work that a call may do at a time, counted in updates of a page-table entry: a quarter of a millisecond, and ten times that before V8 has compiled it well. */
export const WORK_PER_CALL = 4096;
/** Units for a frame that is validated or released as a page table, and for a hypercall within a multicall. */
export const FRAME_WORK = 16;
export const CALL_WORK = 64;
/** What a unit takes of the engine's budget (STATE.budget). */
export const BRANCHES_PER_UNIT = 2;

export interface Continuable {
  /** Units left to the hypercall under way. */
  work: number;
  /** The call was not finished; its arguments are the rest's. */
  continued: boolean;
}

/** Count `units`; true when the call has to stop before it does more. */
export function spent(vcpu: Continuable, units: number): boolean {
  vcpu.work -= units;
  return vcpu.work <= 0;
}
