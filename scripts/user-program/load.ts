/**
 * What Linux's execve does: maps a program and its interpreter, and lays out the stack on which it begins.
 * Follows the ELF specification and the System V ABI for x86-64, 3.4.1 "Initial Stack and Register State".
 */
import { ELF, ELF_MAGIC, ElfHeader, ElfProgramHeader } from '../../src/abi/elf.ts';
import { PAGE_SIZE } from '../../src/hypervisor/memory.ts';
import { type AddressSpace, pageOf, pagesUp } from './address-space.ts';
import { AUXV, PROT } from './linux.ts';

/** Where Linux puts them when it does not shuffle. */
const PROGRAM_BASE = 0x5555_5555_4000;
const INTERPRETER_BASE = 0x7fff_e000_0000;
const STACK_TOP = 0x7fff_ffff_f000;
export const STACK_BYTES = 8 << 20;

const ENVIRONMENT = ['PATH=/usr/bin:/bin', 'HOME=/', 'LC_ALL=C'];

export interface Start {
  readonly entry: number;
  readonly stack: number;
  /** The first address behind the program, where its heap grows from. */
  readonly end: number;
}

interface Image {
  readonly entry: number;
  /** What was added to the addresses in the file. */
  readonly bias: number;
  readonly end: number;
  /** Where its program headers are. */
  readonly headers: number;
  readonly headerCount: number;
  readonly interpreter: string | undefined;
}

/** `readFile` gets a path as the program sees it. Throws an Error that says what is wrong with a file. */
export function load(space: AddressSpace, args: readonly string[], readFile: (path: string) => Uint8Array): Start {
  const name = args[0]!;
  const program = mapImage(space, name, readFile(name), PROGRAM_BASE);
  const { interpreter } = program;
  const first = interpreter ? mapImage(space, interpreter, readFile(interpreter), INTERPRETER_BASE) : program;
  const stack = layStack(space, args, program, interpreter ? first.bias : 0);
  return { entry: first.entry, stack, end: program.end };
}

function mapImage(space: AddressSpace, name: string, file: Uint8Array, base: number): Image {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  if (file.length < ElfHeader.size || ElfHeader.magic.get(view, 0) !== ELF_MAGIC) {
    throw new Error(`${name} is not an ELF file`);
  }
  const type = ElfHeader.type.get(view, 0);
  const executable = type === ELF.ET_EXEC || type === ELF.ET_DYN;
  if (!executable || ElfHeader.machine.get(view, 0) !== ELF.machineX86_64) {
    throw new Error(`${name} is not a program for x86-64`);
  }
  const bias = type === ELF.ET_DYN ? base : 0;
  const headersAt = Number(ElfHeader.phoff.get(view, 0));
  const headerCount = ElfHeader.phnum.get(view, 0);
  if (headersAt + headerCount * ElfProgramHeader.size > file.length) throw new Error(`${name} is cut short`);
  let [end, headers, interpreter] = [0, 0, undefined as string | undefined];
  for (let k = 0; k < headerCount; k++) {
    const at = headersAt + k * ElfProgramHeader.size;
    const kind = ElfProgramHeader.type.get(view, at);
    const offset = Number(ElfProgramHeader.offset.get(view, at));
    const inFile = Number(ElfProgramHeader.filesz.get(view, at));
    if (kind === ELF.PT_INTERP) interpreter = Buffer.from(file.subarray(offset, offset + inFile - 1)).toString();
    if (kind !== ELF.PT_LOAD) continue;
    const va = Number(ElfProgramHeader.vaddr.get(view, at)) + bias;
    const behind = pagesUp(va + Number(ElfProgramHeader.memsz.get(view, at)));
    space.map(pageOf(va), behind - pageOf(va), protectionOf(ElfProgramHeader.flags.get(view, at)));
    // Whole pages of the file, from the one on that the segment begins in, as a mapping of it would be.
    space.write(pageOf(va), file.subarray(offset - (va % PAGE_SIZE), offset + inFile));
    if (headersAt >= offset && headersAt < offset + inFile) headers = va + headersAt - offset;
    end = Math.max(end, behind);
  }
  return { entry: Number(ElfHeader.entry.get(view, 0)) + bias, bias, end, headers, headerCount, interpreter };
}

/** PROT_ for a segment's PF_ flags, which have the same bits in the other order. */
function protectionOf(flags: number): number {
  return (flags & 4 ? PROT.READ : 0) | (flags & 2 ? PROT.WRITE : 0) | (flags & 1 ? PROT.EXEC : 0);
}

/** Strings on top, below them the auxiliary vector, the environment, the arguments and their count; returns where that is. */
function layStack(space: AddressSpace, args: readonly string[], program: Image, interpreterBase: number): number {
  space.map(STACK_TOP - STACK_BYTES, STACK_BYTES, PROT.READ | PROT.WRITE);
  let stack = STACK_TOP;
  const push = (bytes: Uint8Array): number => {
    stack -= bytes.length;
    space.write(stack, bytes);
    return stack;
  };
  const text = (string: string): number => push(Buffer.from(`${string}\0`));
  const [argv, envp] = [args.map(text), ENVIRONMENT.map(text)];
  // The same in every run: hashes and canaries made of it decide how the program goes.
  const random = push(new Uint8Array(16).fill(7));
  // biome-ignore format: a table
  const vector: readonly [number, number][] = [
    [AUXV.PHDR, program.headers],     [AUXV.PHENT, ElfProgramHeader.size],  [AUXV.PHNUM, program.headerCount],
    [AUXV.PAGESZ, PAGE_SIZE],         [AUXV.BASE, interpreterBase],         [AUXV.ENTRY, program.entry],
    [AUXV.UID, 0],                    [AUXV.EUID, 0],                       [AUXV.GID, 0],
    [AUXV.EGID, 0],                   [AUXV.SECURE, 0],                     [AUXV.RANDOM, random],
    [AUXV.EXECFN, argv[0]!],          [AUXV.PLATFORM, text('x86_64')],      [AUXV.HWCAP, 0],
    [AUXV.CLKTCK, 100],               [AUXV.NULL, 0],
  ];
  const words = BigUint64Array.from([args.length, ...argv, 0, ...envp, 0, ...vector.flat()], BigInt);
  stack -= words.byteLength;
  stack -= stack % 16;
  space.write(stack, new Uint8Array(words.buffer));
  return stack;
}
