/**
 * The machine-to-physical table: 8 bytes a frame, at the start of the hypervisor's virtual range, readable in kernel mode.
 * Machine and physical frame numbers are the same, so it says i at i; frames above RAM belong to nobody there: all ones.
 * The engine maps the range itself from STATE.m2pFrame and STATE.m2pPages. Follows pv-abi 1.5 and 2.2.
 */
import { STATE } from '../../x86/state.ts';
import { type GuestMemory, PAGE_SIZE, SPECIAL } from '../memory.ts';

/** Fill the table. Its 8 bytes a page are 0.2 % of the domain's memory. */
export function fillM2p(memory: GuestMemory): void {
  const { layout, u32 } = memory;
  const first = memory.at(layout.pages + SPECIAL.m2p) / 4;
  const entries = ((layout.frames - layout.pages - SPECIAL.m2p) * PAGE_SIZE) / 8;
  for (let i = 0; i < layout.pages; i++) {
    u32[first + 2 * i] = i;
    u32[first + 2 * i + 1] = 0;
  }
  u32.fill(0xffff_ffff, first + 2 * layout.pages, first + 2 * entries);
}

/** Tell the engine of the vCPU at `base` where the table is. */
export function announceM2p(memory: GuestMemory, base: number): void {
  memory.u32[(base + STATE.m2pFrame) / 4] = memory.layout.pages + SPECIAL.m2p;
  memory.u32[(base + STATE.m2pPages) / 4] = memory.layout.pages;
}

/** MMU_MACHPHYS_UPDATE. The caller has checked that `mfn` is RAM. */
export function setM2p(memory: GuestMemory, mfn: number, pfnLo: number, pfnHi: number): void {
  const at = memory.at(memory.layout.pages + SPECIAL.m2p) / 4 + 2 * mfn;
  memory.u32[at] = pfnLo;
  memory.u32[at + 1] = pfnHi;
}
