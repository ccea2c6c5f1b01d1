/**
 * The page of hypercall stubs that older kernels call into; newer ones have the instruction inline. Follows pv-abi 1.11.
 */
import { HYPERCALL, HYPERCALL_STUBS } from '../../abi/numbers.ts';
import { type GuestMemory, PAGE_SIZE } from '../memory.ts';

const STUB_SIZE = PAGE_SIZE / HYPERCALL_STUBS;

/** push rcx; push r11; mov eax,number; syscall; pop r11; pop rcx; ret */
const stub = (number: number) => [0x51, 0x41, 0x53, 0xb8, number, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
/** iret never returns: push rcx; push r11; push rax; mov eax,23; syscall */
const IRET_STUB = [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERCALL.iret, 0, 0, 0, 0x0f, 0x05];

/** Fill frame `mfn`. The bytes between the stubs stay as they are. */
export function writeHypercallPage(memory: GuestMemory, mfn: number): void {
  for (let number = 0; number < HYPERCALL_STUBS; number++) {
    memory.u8.set(number === HYPERCALL.iret ? IRET_STUB : stub(number), memory.at(mfn) + number * STUB_SIZE);
  }
}
