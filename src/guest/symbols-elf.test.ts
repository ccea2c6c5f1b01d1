import assert from 'node:assert/strict';
import test from 'node:test';
import { ELF, ElfHeader, ElfSectionHeader, ElfSymbol } from '../abi/elf.ts';
import { symbolsElf } from './symbols-elf.ts';

const BASE = 0xffff_ffff_8100_0000n;

test('symbols of code and of data are in sections of their kind, those of no address are left out', () => {
  const bytes = symbolsElf({
    // A per-CPU offset; two functions, one with two names; a variable; a function of the kernel's start; a variable.
    addresses: BigUint64Array.from([0x1000n, BASE, BASE, BASE + 64n, BASE + 0x1000n, BASE + 0x2000n, BASE + 0x2100n]),
    names: ['percpu', '_text', '_stext', 'schedule', 'jiffies', 'start_kernel', 'init_task'],
    kinds: ['A', 'T', 'T', 't', 'D', 'T', 'd'],
  });
  const view = new DataView(bytes.buffer);
  const sections = Array.from({ length: ElfHeader.shnum.get(view, 0) }, (_, index) => {
    const at = Number(ElfHeader.shoff.get(view, 0)) + index * ElfSectionHeader.size;
    return {
      type: ElfSectionHeader.type.get(view, at),
      code: (ElfSectionHeader.flags.get(view, at) & BigInt(ELF.SHF_EXECINSTR)) !== 0n,
      addr: ElfSectionHeader.addr.get(view, at),
      size: ElfSectionHeader.length.get(view, at),
      offset: Number(ElfSectionHeader.offset.get(view, at)),
      link: ElfSectionHeader.link.get(view, at),
    };
  });
  const loaded = sections.filter(({ type }) => type === ELF.SHT_NOBITS);
  assert.deepEqual(
    loaded.map(({ code, addr, size }) => [code, addr - BASE, size]),
    [
      [true, 0n, 0x1000n],
      [false, 0x1000n, 0x1000n],
      [true, 0x2000n, 0x100n],
      [false, 0x2100n, 0xf00n],
    ],
  );
  const symtab = sections.find(({ type }) => type === ELF.SHT_SYMTAB)!;
  const strings = sections[symtab.link]!.offset;
  const nameAt = (at: number) =>
    Buffer.from(bytes.subarray(strings + at))
      .toString('latin1')
      .split('\0')[0];
  const found = Array.from({ length: Number(symtab.size) / ElfSymbol.size }, (_, k) => {
    const at = symtab.offset + k * ElfSymbol.size;
    const section = sections[ElfSymbol.section.get(view, at)]!;
    const value = ElfSymbol.value.get(view, at);
    if (k > 0) assert.ok(value >= section.addr && value < section.addr + section.size);
    return [nameAt(ElfSymbol.name_offset.get(view, at)), value, ElfSymbol.info.get(view, at)];
  });
  assert.deepEqual(found.slice(1), [
    ['_text', BASE, ELF.STT_FUNC],
    ['_stext', BASE, ELF.STT_FUNC],
    ['schedule', BASE + 64n, ELF.STT_FUNC],
    ['jiffies', BASE + 0x1000n, ELF.STT_OBJECT],
    ['start_kernel', BASE + 0x2000n, ELF.STT_FUNC],
    ['init_task', BASE + 0x2100n, ELF.STT_OBJECT],
  ]);
});
