/**
 * From what the builder left in memory to a vCPU that can run: frame types, the machine-to-physical table, what vCPU 0 has
 * that no state block holds. Follows pv-abi 1.5 and 1.6.
 */
import { FLAT } from '../abi/numbers.ts';
import { announceM2p, fillM2p } from './mmu/m2p.ts';
import { adoptRoots } from './mmu/roots.ts';
import { DEFAULT_PERIOD_NS } from './timers.ts';
import type { Vcpu } from './vcpu.ts';

export interface BootFacts {
  /** Initial RSP, which is also kernel_sp until the guest says otherwise. */
  readonly stackPointer: bigint;
  /** The L4 table, pinned before the guest runs: Linux unpins it. */
  readonly pinned: { readonly mfn: number; readonly level: number };
}

/** Make vCPU 0 of a freshly built domain ready for `runVcpu`. Throws when the builder's page tables are not lawful: our mistake. */
export function startBootVcpu(vcpu: Vcpu, facts: BootFacts): void {
  const { domain, memory } = vcpu;
  fillM2p(memory);
  announceM2p(memory, vcpu.base);
  if (!domain.types.pin(facts.pinned.mfn, facts.pinned.level) || !adoptRoots(vcpu)) {
    throw new Error('the page tables that the domain builder made are not lawful');
  }
  vcpu.kernelSs = FLAT.ring3Ss;
  vcpu.setKernelSp(Number(facts.stackPointer & 0xffff_ffffn), Number(facts.stackPointer >> 32n));
  vcpu.timers.setPeriodic(DEFAULT_PERIOD_NS, domain.clock.now());
  vcpu.initialised = true;
  vcpu.up = true;
  vcpu.engine.modeChanged();
}
