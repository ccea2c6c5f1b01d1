import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ELF, ELF_MAGIC, ElfHeader, ElfProgramHeader, ElfSymbol } from '../abi/elf.ts';
import { UserSpace } from './user-symbols.ts';

const PAGE = 4096;
const ROOT = 1;
/** A library of three pages at BASE, its frames in falling order; the one in the middle is not present. */
const BASE = 0x7f12_3450_0000n;
const FRAMES = [12, undefined, 8] as const;
const [SYMBOLS, STRINGS, DYNAMIC] = [0x200n, 0x260n, 0x2100n];
const [FIRST, SECOND] = [0x2400n, 0x2500n];

function guest(): Uint8Array {
  const ram = new Uint8Array(16 * PAGE);
  const view = new DataView(ram.buffer);
  const entry = (table: number, level: bigint, frame: number): void =>
    view.setBigUint64(table * PAGE + 8 * Number((BASE >> (12n + 9n * level)) & 511n), BigInt(frame * PAGE) | 7n, true);
  entry(1, 3n, 2);
  entry(2, 2n, 3);
  entry(3, 1n, 4);
  const pages = 4 * PAGE + 8 * Number((BASE >> 12n) & 511n);
  FRAMES.forEach((frame, k) => {
    if (frame !== undefined) view.setBigUint64(pages + 8 * k, BigInt(frame * PAGE) | 5n, true);
  });
  const place = (offset: bigint): number => FRAMES[Number(offset >> 12n)]! * PAGE + Number(offset & 0xfffn);
  ElfHeader.magic.set(view, place(0n), ELF_MAGIC);
  ElfHeader.class.set(view, place(0n), ELF.class64);
  ElfHeader.phoff.set(view, place(0n), 64n);
  ElfHeader.phnum.set(view, place(0n), 2);
  const header = (k: number, type: number, vaddr: bigint, memsz: bigint): void => {
    const at = place(64n) + k * ElfProgramHeader.size;
    ElfProgramHeader.type.set(view, at, type);
    ElfProgramHeader.vaddr.set(view, at, vaddr);
    ElfProgramHeader.memsz.set(view, at, memsz);
  };
  header(0, ELF.PT_LOAD, 0n, 0x3000n);
  header(1, 2, DYNAMIC, 0x100n);
  // The string table's address as the dynamic linker leaves it, the symbols' as the file has it.
  const dynamic: [bigint, bigint][] = [
    [5n, BASE + STRINGS],
    [6n, SYMBOLS],
    [14n, 1n],
    [0n, 0n],
  ];
  for (const [k, word] of dynamic.flat().entries()) view.setBigUint64(place(DYNAMIC) + 8 * k, word, true);
  ram.set(Buffer.from('\0libx.so.1\0first\0second\0'), place(STRINGS));
  const symbol = (k: number, name: number, value: bigint): void => {
    const at = place(SYMBOLS) + k * ElfSymbol.size;
    ElfSymbol.name_offset.set(view, at, name);
    ElfSymbol.info.set(view, at, 0x12);
    ElfSymbol.section.set(view, at, 1);
    ElfSymbol.value.set(view, at, value);
    ElfSymbol.length.set(view, at, 0x40n);
  };
  symbol(1, 11, FIRST);
  symbol(2, 17, SECOND);
  return ram;
}

test('an address in a function of a library has its name, although a page before it is not there', () => {
  const space = new UserSpace(guest(), ROOT);
  assert.deepEqual(space.symbolAt(BASE + FIRST), { name: 'libx.so.1:first', offset: 0 });
  assert.deepEqual(space.symbolAt(BASE + SECOND + 0x3fn), { name: 'libx.so.1:second', offset: 0x3f });
});

test('an address between two functions has no name, nor has one where nothing is mapped', () => {
  const space = new UserSpace(guest(), ROOT);
  for (const va of [BASE + FIRST + 0x40n, BASE + 0x3000n, 0n, 0x40_0000n]) assert.equal(space.symbolAt(va), undefined);
});

test('page tables and headers that name frames beyond the memory lead nowhere', () => {
  const ram = guest();
  new DataView(ram.buffer).setBigUint64(
    4 * PAGE + 8 * Number(((BASE >> 12n) & 511n) + 2n),
    0x000f_ffff_ffff_f007n,
    true,
  );
  assert.equal(new UserSpace(ram, ROOT).symbolAt(BASE + FIRST), undefined);
  assert.equal(new UserSpace(ram, 1 << 30).symbolAt(BASE + FIRST), undefined);
});

test('what is in no object is looked for once a page, not once an address', () => {
  class Counted extends UserSpace {
    looks = 0;
    override page(va: bigint): number | undefined {
      this.looks++;
      return super.page(va);
    }
  }
  const space = new Counted(guest(), ROOT);
  const away = BASE + 0x10_0000n;
  assert.equal(space.symbolAt(away), undefined);
  const { looks } = space;
  assert.ok(looks > 0);
  for (let k = 0n; k < 4096n; k += 16n) assert.equal(space.symbolAt(away + k), undefined);
  assert.equal(space.looks, looks);
});
