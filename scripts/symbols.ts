/**
 * Writes a kernel's own symbols as an ELF file for gdb: out of a domain's core file, or out of a kernel in any packing.
 * scripts/symbols.ts --help
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { findKernelSymbols } from '../src/guest/kallsyms.ts';
import { loadKernel } from '../src/guest/kernel.ts';
import { symbolsElf } from '../src/guest/symbols-elf.ts';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined || from.startsWith('-')) {
  console.log(`usage: symbols.ts CORE|KERNEL SYMBOLS
  then: gdb SYMBOLS CORE
  CORE    a file of xm dump-core or of on_crash = "coredump-..."
  KERNEL  the kernel that the domain ran`);
  process.exit(from === '--help' ? 0 : 1);
}

/** ELF's e_type of a core, at its place. */
const isCore = (bytes: Buffer): boolean => bytes.readUInt32BE(0) === 0x7f454c46 && bytes.readUInt16LE(16) === 4;

try {
  const bytes = readFileSync(from);
  const symbols = findKernelSymbols(isCore(bytes) ? bytes : loadKernel(bytes).elf);
  if (!symbols) throw new Error(`${from}: a kernel without symbols of its own (CONFIG_KALLSYMS)`);
  writeFileSync(to, symbolsElf(symbols));
  console.error(`symbols: ${symbols.names.length} in ${to}`);
} catch (error) {
  console.error(`symbols: ${(error as Error).message}`);
  process.exitCode = 1;
}
