/**
 * Writable page tables: a kernel-mode store to the read-only mapping of a level 1 table is a page-table update. The engine
 * performs the one instruction with its normal semantics; the entry is validated afterwards, and an unlawful one is taken
 * back and becomes the page fault that it was. Follows pv-abi 3.3.
 */
import { PTE } from '../../abi/numbers.ts';
import { Exit } from '../../x86/exits.ts';
import { STATE } from '../../x86/state.ts';
import { PF } from '../traps/exceptions.ts';
import type { Vcpu } from '../vcpu.ts';

/** General registers, RIP and flags: what the instruction may change besides the entry (xchg, cmpxchg, string stores). */
const REGISTER_WORDS = (STATE.flagsRest + 4) / 4;
/** A store of up to 16 bytes, not aligned, touches up to three entries. */
const ENTRIES = 3;
const savedRegisters = new Uint32Array(REGISTER_WORDS);
const savedEntries = new Uint32Array(2 * ENTRIES);

/** The page fault is the guest's: deliver it. */
export const NOT_OURS = -1;

/**
 * Try to perform the faulting store. Returns how the step ended (an Exit for the run loop to handle), or NOT_OURS.
 */
export function tryPageTableWrite(vcpu: Vcpu, cr2Lo: number, cr2Hi: number, errorCode: number): number {
  if ((errorCode & (PF.present | PF.write | PF.reserved | PF.fetch)) !== (PF.present | PF.write)) return NOT_OURS;
  if (!vcpu.kernelMode) return NOT_OURS;
  const { memory, walker } = vcpu;
  const { u32 } = memory;
  if (!walker.find(vcpu.kernelRoot, cr2Lo, cr2Hi)) return NOT_OURS;
  const leaf = u32[walker.slot / 4]!;
  const frame = leaf >>> 12;
  if (!(leaf & PTE.P) || vcpu.domain.types.level(frame) !== 1) return NOT_OURS;

  const registers = (vcpu.base + STATE.gpr) / 4;
  for (let i = 0; i < REGISTER_WORDS; i++) savedRegisters[i] = u32[registers + i]!;
  const offset = cr2Lo & 0xff8;
  const slot = (memory.at(frame) + offset) / 4;
  const words = Math.min(2 * ENTRIES, (4096 - offset) / 4);
  for (let i = 0; i < words; i++) savedEntries[i] = u32[slot + i]!;

  const exit = vcpu.engine.step(frame);
  if (exit !== Exit.Stepped) return exit;
  vcpu.frameTouched(frame);
  for (let i = 0; i < words; i += 2) {
    const lo = u32[slot + i]!;
    const hi = u32[slot + i + 1]!;
    if (lo === savedEntries[i] && hi === savedEntries[i + 1]) continue;
    if (vcpu.domain.types.leafAllowed(lo, hi)) {
      if (savedEntries[i]! & PTE.P) vcpu.engine.entryChanged(frame, (offset >>> 3) + i / 2);
      continue;
    }
    for (let j = 0; j < words; j++) u32[slot + j] = savedEntries[j]!;
    for (let j = 0; j < REGISTER_WORDS; j++) u32[registers + j] = savedRegisters[j]!;
    const shown = `0x${((BigInt(hi) << 32n) | BigInt(lo)).toString(16)}`;
    vcpu.domain.logOnce('warn', 'ptwr', `the guest stored an unlawful page-table entry ${shown} and gets a page fault`);
    return NOT_OURS;
  }
  return Exit.Stepped;
}
