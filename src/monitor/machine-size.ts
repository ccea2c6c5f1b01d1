/** How much memory a domain can have: all of it, with what the machine keeps beside it, is one WebAssembly memory. */
import { type MemoryLayout, planLayout } from '../hypervisor/memory.ts';

export const PAGES_PER_MIB = 256;
/** Bytes of a WebAssembly page. */
export const WASM_PAGE = 0x10000;
/** Of a memory with 32-bit addresses. */
const WASM_PAGES_MAX = 65536;

export const planMemory = (memoryMiB: number): MemoryLayout => planLayout(memoryMiB * PAGES_PER_MIB, 1);

/** One line, if it is more than there can be. */
export function memoryProblem(memoryMiB: number): string | undefined {
  if (planMemory(memoryMiB).bytes <= WASM_PAGES_MAX * WASM_PAGE) return undefined;
  return `${memoryMiB} MiB of memory is too much: a domain can have about 3900 MiB`;
}
