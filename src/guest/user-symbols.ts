/**
 * Names for the addresses of a guest's programs: of what is mapped around an address in one process's page tables, the ELF header
 * and the symbols that it is linked by (.dynsym). Only what is in memory is looked at, and nothing is believed: it is a guest's.
 * A program without dynamic symbols, a static or a stripped one, has no names.
 * Follows the ELF specification, "Dynamic Linking"; page tables as in SDM volume 3, 4.5.
 */
import { ELF, ELF_MAGIC, ElfHeader, ElfProgramHeader, ElfSymbol } from '../abi/elf.ts';

const PAGE = 4096;
const PRESENT = 1n;
/** How far before an address its object's header is looked for: 16 MiB. */
const HEADER_PAGES = 4096;
const PROGRAM_HEADERS_MAX = 64;
const DYNAMIC_MAX = 128;
const SYMBOLS_MAX = 100_000;
const NAME_MAX = 200;
const PT_DYNAMIC = 2;
const DT = { null: 0n, strtab: 5n, symtab: 6n, soname: 14n } as const;
const STT_FUNC = 2;

/** The memory of one process, as its page tables have it at the moment. */
export class UserSpace {
  readonly #ram: DataView;
  readonly #root: number;
  readonly #objects: UserObject[] = [];
  /** Pages of addresses that are in no object: looking through all before them takes its time. */
  readonly #nowhere = new Set<bigint>();

  /** `root`: the frame of the top table in `ram`, the guest's frames from 0 on. */
  constructor(ram: Uint8Array, root: number) {
    this.#ram = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.#root = root;
  }

  /** Name and offset of the function that `va` is in, with the name of a library before it. */
  symbolAt(va: bigint): { readonly name: string; readonly offset: number } | undefined {
    const page = va & ~0xfffn;
    if (this.#nowhere.has(page)) return undefined;
    let object = this.#objects.find(({ start, end }) => va >= start && va < end);
    if (object === undefined) {
      object = findObject(this, va);
      if (object === undefined) this.#nowhere.add(page);
      else this.#objects.push(object);
    }
    const found = object?.functions.find(({ start, end }) => va >= start && va < end);
    if (!object || !found) return undefined;
    const name = object.name === '' ? found.name : `${object.name}:${found.name}`;
    return { name, offset: Number(va - found.start) };
  }

  /** Where page `va` is in guest RAM, if it is present. */
  page(va: bigint): number | undefined {
    let table = this.#root;
    for (let level = 3n; ; level--) {
      const at = table * PAGE + 8 * Number((va >> (12n + 9n * level)) & 511n);
      if (at + 8 > this.#ram.byteLength) return undefined;
      const entry = this.#ram.getBigUint64(at, true);
      if ((entry & PRESENT) === 0n) return undefined;
      table = Number((entry >> 12n) & 0xff_ffff_ffffn);
      if (level === 0n) return (table + 1) * PAGE <= this.#ram.byteLength ? table * PAGE : undefined;
    }
  }

  read(va: bigint, length: number): DataView | undefined {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const inPage = Number((va + BigInt(done)) & 0xfffn);
      const at = this.page(va + BigInt(done - inPage));
      if (at === undefined) return undefined;
      const count = Math.min(PAGE - inPage, length - done);
      bytes.set(new Uint8Array(this.#ram.buffer, this.#ram.byteOffset + at + inPage, count), done);
      done += count;
    }
    return new DataView(bytes.buffer);
  }

  text(va: bigint): string {
    let text = '';
    for (let at = this.page(va & ~0xfffn), k = Number(va & 0xfffn); at !== undefined && text.length < NAME_MAX; k++) {
      if (k === PAGE) [at, k] = [this.page((va + BigInt(text.length)) & ~0xfffn), 0];
      const byte = at === undefined ? 0 : this.#ram.getUint8(at + k);
      if (byte === 0) break;
      text += String.fromCharCode(byte);
    }
    return text;
  }
}

interface UserObject {
  /** A library's; a program has none. */
  readonly name: string;
  readonly start: bigint;
  readonly end: bigint;
  readonly functions: readonly { readonly start: bigint; readonly end: bigint; readonly name: string }[];
}

function findObject(space: UserSpace, va: bigint): UserObject | undefined {
  const page = va & ~0xfffn;
  for (let k = 0n; k < HEADER_PAGES; k++) {
    const at = page - k * BigInt(PAGE);
    if (at < 0n) return undefined;
    const head = space.page(at) === undefined ? undefined : space.read(at, ElfHeader.size);
    if (head && ElfHeader.magic.get(head, 0) === ELF_MAGIC && ElfHeader.class.get(head, 0) === ELF.class64)
      return readObject(space, at, head, va);
  }
  return undefined;
}

/** The object whose header is at `at`, unless `va` is not in it. */
function readObject(space: UserSpace, at: bigint, head: DataView, va: bigint): UserObject | undefined {
  const count = Math.min(ElfHeader.phnum.get(head, 0), PROGRAM_HEADERS_MAX);
  const headers = space.read(at + ElfHeader.phoff.get(head, 0), count * ElfProgramHeader.size);
  if (!headers) return undefined;
  let [low, high, dynamic] = [1n << 63n, 0n, undefined as bigint | undefined];
  for (let k = 0; k < count; k++) {
    const header = k * ElfProgramHeader.size;
    const from = ElfProgramHeader.vaddr.get(headers, header);
    const type = ElfProgramHeader.type.get(headers, header);
    if (type === PT_DYNAMIC) dynamic = from;
    if (type !== ELF.PT_LOAD) continue;
    if (from < low) low = from;
    const to = from + ElfProgramHeader.memsz.get(headers, header);
    if (to > high) high = to;
  }
  const bias = at - (low & ~0xfffn);
  const [start, end] = [low + bias, high + bias];
  if (va < start || va >= end) return undefined;
  const tables = dynamic === undefined ? undefined : readDynamic(space, dynamic + bias, bias);
  return { name: tables?.name ?? '', start, end, functions: tables ? functionsOf(space, tables, bias) : [] };
}

interface SymbolTables {
  readonly symbols: bigint;
  readonly strings: bigint;
  readonly name: string;
}

function readDynamic(space: UserSpace, at: bigint, bias: bigint): SymbolTables | undefined {
  const found = new Map<bigint, bigint>();
  for (let k = 0n; k < DYNAMIC_MAX; k++) {
    const entry = space.read(at + 16n * k, 16);
    if (!entry || entry.getBigUint64(0, true) === DT.null) break;
    found.set(entry.getBigUint64(0, true), entry.getBigUint64(8, true));
  }
  const [strings, symbols, soname] = [found.get(DT.strtab), found.get(DT.symtab), found.get(DT.soname)];
  if (strings === undefined || symbols === undefined) return undefined;
  // The dynamic linker has made addresses of them, or has not yet.
  const place = (value: bigint): bigint => (value < bias ? value + bias : value);
  const name = soname === undefined ? '' : space.text(place(strings) + soname);
  return { strings: place(strings), symbols: place(symbols), name };
}

/** Linkers put the names right behind the symbols. */
function functionsOf(space: UserSpace, { symbols, strings }: SymbolTables, bias: bigint): UserObject['functions'] {
  const count = Math.min(Number((strings - symbols) / BigInt(ElfSymbol.size)), SYMBOLS_MAX);
  const functions: { start: bigint; end: bigint; name: string }[] = [];
  for (let k = 0; k < count; k++) {
    const symbol = space.read(symbols + BigInt(k * ElfSymbol.size), ElfSymbol.size);
    if (!symbol || (ElfSymbol.info.get(symbol, 0) & 15) !== STT_FUNC || ElfSymbol.section.get(symbol, 0) === 0)
      continue;
    const start = ElfSymbol.value.get(symbol, 0) + bias;
    const name = space.text(strings + BigInt(ElfSymbol.name_offset.get(symbol, 0)));
    if (name !== '') functions.push({ start, end: start + ElfSymbol.length.get(symbol, 0), name });
  }
  return functions;
}
