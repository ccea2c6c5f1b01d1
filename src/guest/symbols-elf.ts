/**
 * A kernel's own symbols as an ELF file without code: what gdb wants beside a core file when the distribution's debugging
 * package is not at hand. gdb takes a symbol for a function or for data by the section that it is in, so each stretch of the
 * kernel that is of one kind is a section.
 */
import { ELF, ELF_MAGIC, ElfHeader, ElfSectionHeader, ElfSymbol } from '../abi/elf.ts';
import type { KernelSymbols } from './kallsyms.ts';

interface Stretch {
  readonly code: boolean;
  readonly address: bigint;
  size: bigint;
}

interface Row {
  readonly name: string;
  readonly type: number;
  readonly flags?: number;
  readonly addr?: bigint;
  readonly offset?: number;
  readonly length: number | bigint;
  readonly link?: number;
  readonly info?: number;
  readonly entsize?: number;
}

/** The kernel's half; below are offsets into each CPU's own data, which are no addresses. */
const KERNEL_HALF = 1n << 63n;
const PAGE = 4096n;
const CODE = ELF.SHF_ALLOC | ELF.SHF_EXECINSTR;
const DATA = ELF.SHF_ALLOC | ELF.SHF_WRITE;
const isCode = (kind: string): boolean => /^[tw]$/i.test(kind);

/** From a symbol to the next one of the other kind; the last ends with its page. */
function stretchesOf({ addresses, kinds }: KernelSymbols, first: number): { stretches: Stretch[]; of: number[] } {
  const stretches: Stretch[] = [];
  const of: number[] = [];
  for (let k = first; k < addresses.length; k++) {
    const [address, code] = [addresses[k]!, isCode(kinds[k]!)];
    const last = stretches.at(-1);
    // Symbols at one address are in one section, whatever their kinds.
    if (!last || (last.code !== code && address !== last.address)) {
      if (last) last.size = address - last.address;
      stretches.push({ code, address, size: 0n });
    }
    of.push(stretches.length - 1);
  }
  const end = stretches.at(-1);
  if (end) end.size = ((addresses.at(-1)! + PAGE) & -PAGE) - end.address;
  return { stretches, of };
}

export function symbolsElf(symbols: KernelSymbols): Uint8Array {
  const { addresses, names, kinds } = symbols;
  const found = addresses.findIndex((address) => address >= KERNEL_HALF);
  const first = found < 0 ? addresses.length : found;
  const { stretches, of } = stretchesOf(symbols, first);

  const strings = Buffer.from(`\0${names.slice(first).join('\0')}\0`, 'latin1');
  const sectionNames = '\0.text\0.data\0.symtab\0.strtab\0.shstrtab\0';
  const count = names.length - first + 1; // The first one is empty.
  const sections = stretches.length + 4;
  const symbolsAt = ElfHeader.size;
  const stringsAt = symbolsAt + count * ElfSymbol.size;
  const namesAt = stringsAt + strings.length;
  const table = Math.ceil((namesAt + sectionNames.length) / 8) * 8;
  const bytes = new Uint8Array(table + sections * ElfSectionHeader.size);
  const view = new DataView(bytes.buffer);

  writeHeader(view, table, sections);
  bytes.set(strings, stringsAt);
  bytes.set(Buffer.from(sectionNames, 'latin1'), namesAt);
  let name = 1;
  for (let k = first; k < names.length; k++) {
    const at = symbolsAt + (k - first + 1) * ElfSymbol.size;
    const { code } = stretches[of[k - first]!]!;
    ElfSymbol.name_offset.set(view, at, name);
    // All are local, as sh_info says: a kernel has many of one name.
    ElfSymbol.info.set(view, at, code && isCode(kinds[k]!) ? ELF.STT_FUNC : ELF.STT_OBJECT);
    ElfSymbol.section.set(view, at, 1 + of[k - first]!);
    ElfSymbol.value.set(view, at, addresses[k]!);
    name += names[k]!.length + 1;
  }

  const rows: Row[] = [
    ...stretches.map(({ code, address: addr, size: length }): Row => {
      return { name: code ? '.text' : '.data', type: ELF.SHT_NOBITS, flags: code ? CODE : DATA, addr, length };
    }),
    {
      name: '.symtab',
      type: ELF.SHT_SYMTAB,
      offset: symbolsAt,
      length: count * ElfSymbol.size,
      link: sections - 2,
      info: count,
      entsize: ElfSymbol.size,
    },
    { name: '.strtab', type: ELF.SHT_STRTAB, offset: stringsAt, length: strings.length },
    { name: '.shstrtab', type: ELF.SHT_STRTAB, offset: namesAt, length: sectionNames.length },
  ];
  rows.forEach((row, index) => {
    const at = table + (1 + index) * ElfSectionHeader.size;
    ElfSectionHeader.name_offset.set(view, at, sectionNames.indexOf(`\0${row.name}\0`) + 1);
    ElfSectionHeader.type.set(view, at, row.type);
    ElfSectionHeader.flags.set(view, at, BigInt(row.flags ?? 0));
    ElfSectionHeader.addr.set(view, at, row.addr ?? 0n);
    ElfSectionHeader.offset.set(view, at, BigInt(row.offset ?? symbolsAt));
    ElfSectionHeader.length.set(view, at, BigInt(row.length));
    ElfSectionHeader.link.set(view, at, row.link ?? 0);
    ElfSectionHeader.info.set(view, at, row.info ?? 0);
    ElfSectionHeader.addralign.set(view, at, 1n);
    ElfSectionHeader.entsize.set(view, at, BigInt(row.entsize ?? 0));
  });
  return bytes;
}

function writeHeader(view: DataView, table: number, sections: number): void {
  ElfHeader.magic.set(view, 0, ELF_MAGIC);
  ElfHeader.class.set(view, 0, ELF.class64);
  ElfHeader.data.set(view, 0, ELF.dataLsb);
  ElfHeader.ident_version.set(view, 0, ELF.version);
  ElfHeader.type.set(view, 0, ELF.ET_EXEC);
  ElfHeader.machine.set(view, 0, ELF.machineX86_64);
  ElfHeader.version.set(view, 0, ELF.version);
  ElfHeader.ehsize.set(view, 0, ElfHeader.size);
  ElfHeader.shoff.set(view, 0, BigInt(table));
  ElfHeader.shentsize.set(view, 0, ElfSectionHeader.size);
  ElfHeader.shnum.set(view, 0, sections);
  ElfHeader.shstrndx.set(view, 0, sections - 1);
}
