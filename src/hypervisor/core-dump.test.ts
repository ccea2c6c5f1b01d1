import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PRSTATUS_REGS, ElfPrstatus as Prstatus } from '../abi/core-file.ts';
import { ELF, ElfHeader, ElfProgramHeader, ElfSectionHeader } from '../abi/elf.ts';
import { CpuUserRegs, VCPU_CONTEXT_PARTS } from '../abi/vcpu-context.ts';
import { GPR } from '../x86/state.ts';
import { coreHead, kernelRuns } from './core-dump.ts';
import { newGuest, VIRT_BASE } from './guest-for-tests.ts';

/** Names and places of the sections of a core file. */
function sectionsOf(view: DataView): Map<string, { at: number; size: number; entry: number }> {
  const table = Number(ElfHeader.shoff.get(view, 0));
  const at = (index: number) => table + index * ElfSectionHeader.size;
  const place = (index: number) => Number(ElfSectionHeader.offset.get(view, at(index)));
  const names = place(ElfHeader.shstrndx.get(view, 0));
  return new Map(
    Array.from({ length: ElfHeader.shnum.get(view, 0) }, (_, index) => {
      const start = names + ElfSectionHeader.name_offset.get(view, at(index));
      let name = '';
      for (let i = start; view.getUint8(i) !== 0; i++) name += String.fromCharCode(view.getUint8(i));
      const size = Number(ElfSectionHeader.length.get(view, at(index)));
      return [name, { at: place(index), size, entry: Number(ElfSectionHeader.entsize.get(view, at(index))) }];
    }),
  );
}

function programsOf(view: DataView) {
  const table = Number(ElfHeader.phoff.get(view, 0));
  return Array.from({ length: ElfHeader.phnum.get(view, 0) }, (_, index) => {
    const at = table + index * ElfProgramHeader.size;
    return {
      type: ElfProgramHeader.type.get(view, at),
      offset: Number(ElfProgramHeader.offset.get(view, at)),
      va: ElfProgramHeader.vaddr.get(view, at),
      pa: Number(ElfProgramHeader.paddr.get(view, at)),
      size: Number(ElfProgramHeader.filesz.get(view, at)),
    };
  });
}

test('a core file maps what the kernel maps, to the RAM behind its head', () => {
  const { memory } = newGuest();
  const head = coreHead(memory);
  assert.equal(head.length % 4096, 0);
  const view = new DataView(head.buffer);
  const [notes, direct, kernel] = programsOf(view);
  assert.equal(notes?.type, ELF.PT_NOTE);
  // crash reads so much of a file: with program headers in it, it would not take this one for Xen's.
  assert.ok(Number(ElfHeader.phoff.get(view, 0)) > 64 + 2 * 56 + 128);
  assert.deepEqual(direct, {
    type: ELF.PT_LOAD,
    offset: head.length,
    va: 0xffff_8880_0000_0000n,
    pa: 0,
    size: memory.layout.pages * 4096,
  });
  assert.deepEqual([kernel?.va, kernel?.pa, kernel?.offset], [VIRT_BASE, 0, head.length]);
});

test('gdb’s registers and Xen’s are those of the state block', () => {
  const { memory, vcpu } = newGuest();
  vcpu.setReg64(GPR.r12, 0x1122334455667788n);
  vcpu.rip = 0xffffffff81234567n;
  vcpu.flags = 0x246;
  const head = coreHead(memory);
  const view = new DataView(head.buffer);
  const desc = programsOf(view)[0]!.offset + 12 + 8;
  const gdb = (name: (typeof PRSTATUS_REGS)[number]) =>
    view.getBigUint64(desc + Prstatus.r15.offset + 8 * PRSTATUS_REGS.indexOf(name), true);
  const xen = sectionsOf(view).get('.xen_prstatus')!.at + VCPU_CONTEXT_PARTS.user_regs;
  assert.deepEqual([gdb('r12'), gdb('rip'), gdb('rflags')], [0x1122334455667788n, 0xffffffff81234567n, 0x246n]);
  assert.equal(gdb('rsp'), vcpu.reg64(GPR.rsp));
  assert.equal(CpuUserRegs.rip.get(view, xen), 0xffffffff81234567n);
  assert.equal(CpuUserRegs.r12.get(view, xen), 0x1122334455667788n);
});

test('Xen’s sections list every page with its frame, in the order of the pages', () => {
  const { memory } = newGuest();
  const { pages } = memory.layout;
  const head = coreHead(memory);
  const view = new DataView(head.buffer);
  const sections = sectionsOf(view);
  assert.deepEqual(sections.get('.xen_pages'), { at: head.length, size: pages * 4096, entry: 4096 });
  const table = sections.get('.xen_p2m')!;
  assert.deepEqual([table.size, table.entry], [pages * 16, 16]);
  for (const pfn of [0, 1, pages - 1]) {
    assert.equal(view.getBigUint64(table.at + 16 * pfn, true), BigInt(pfn));
    assert.equal(view.getBigUint64(table.at + 16 * pfn + 8, true), BigInt(pfn));
  }
  assert.equal(sections.get('.xen_shared_info')?.size, 4096);
  assert.ok(sections.has('.note.Xen'));
});

test('page tables that refer to each other without end are looked at for a while only', () => {
  const { memory } = newGuest();
  const root = 0x20;
  // All entries of the table lead to the table itself: 512 to the fourth pages.
  for (let i = 0; i < 512; i++) memory.view.setBigUint64(memory.at(root) + 8 * i, BigInt(root << 12) | 1n, true);
  const runs = kernelRuns(memory, root);
  assert.deepEqual(
    runs.map(({ pfn, count }) => [pfn, count]),
    new Array(4).fill([root, 1]),
  );
});
