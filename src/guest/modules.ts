/**
 * Which kernel modules a guest needs early, and in which order: read from the modules themselves, since a package as unpacked
 * has no modules.dep (its installation script would make it). Loading them is the initramfs's business.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { GuestError } from './errors.ts';
import { formatOf, unpack } from './kernel.ts';

export interface KernelModule {
  /** As modinfo and /proc/modules have it: with underscores. */
  readonly name: string;
  /** Below the folder of the kernel's release, for example kernel/drivers/block/xen-blkfront.ko; never packed. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly depends: readonly string[];
}

export const moduleName = (fileOrName: string): string =>
  basename(fileOrName)
    .replace(/\.ko(\.(xz|gz|zst))?$/, '')
    .replaceAll('-', '_');

/** `key=value` records of a module's .modinfo section; keys may repeat. */
export function readModinfo(elf: Uint8Array): [key: string, value: string][] {
  const section = findSection(elf, '.modinfo');
  if (!section) throw new GuestError('not a kernel module: no .modinfo section');
  return Buffer.from(section)
    .toString('latin1')
    .split('\0')
    .filter((record) => record.includes('='))
    .map((record) => [record.slice(0, record.indexOf('=')), record.slice(record.indexOf('=') + 1)]);
}

/** Section contents by name, of a 64-bit little-endian ELF file; undefined when it has none or its tables point outside. */
function findSection(elf: Uint8Array, wanted: string): Uint8Array | undefined {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  if (elf.length < 64 || view.getUint32(0) !== 0x7f454c46 || elf[4] !== 2) return undefined;
  const table = Number(view.getBigUint64(0x28, true));
  const entrySize = view.getUint16(0x3a, true);
  const count = view.getUint16(0x3c, true);
  if (entrySize < 64 || table + count * entrySize > elf.length) return undefined;
  const header = (i: number) => {
    const at = table + i * entrySize;
    const offset = Number(view.getBigUint64(at + 24, true));
    const size = Number(view.getBigUint64(at + 32, true));
    return { name: view.getUint32(at, true), bytes: elf.subarray(offset, offset + size) };
  };
  const namesIndex = view.getUint16(0x3e, true);
  if (namesIndex >= count) return undefined;
  const names = Buffer.from(header(namesIndex).bytes).toString('latin1');
  for (let i = 0; i < count; i++) {
    const section = header(i);
    if (names.startsWith(`${wanted}\0`, section.name)) return section.bytes;
  }
  return undefined;
}

export class ModuleTree {
  private readonly folder: string;
  private readonly files = new Map<string, string>();
  private readonly builtin: Set<string>;
  private readonly loaded = new Map<string, KernelModule>();

  /** `folder` is lib/modules/RELEASE. */
  constructor(folder: string) {
    this.folder = folder;
    for (const file of readdirSync(join(folder, 'kernel'), { recursive: true, encoding: 'utf8' })) {
      if (/\.ko(\.(xz|gz|zst))?$/.test(file)) this.files.set(moduleName(file), join('kernel', file));
    }
    this.builtin = new Set(readFileSync(join(folder, 'modules.builtin'), 'latin1').split('\n').map(moduleName));
  }

  isBuiltIn(name: string): boolean {
    return this.builtin.has(moduleName(name));
  }

  /** The module, or undefined when the kernel has it built in. */
  find(name: string): KernelModule | undefined {
    const key = moduleName(name);
    const known = this.loaded.get(key);
    if (known) return known;
    const file = this.files.get(key);
    if (file === undefined) {
      if (this.builtin.has(key)) return undefined;
      throw new GuestError(`the kernel in ${this.folder} has no module ${name}`);
    }
    const bytes = this.read(file);
    const depends = readModinfo(bytes).flatMap(([field, value]) => (field === 'depends' ? value.split(',') : []));
    const module = { name: key, path: file.replace(/\.(xz|gz|zst)$/, ''), bytes, depends: depends.filter(Boolean) };
    this.loaded.set(key, module);
    return module;
  }

  /** The named modules with everything they need, each after what it depends on. */
  closure(names: readonly string[]): KernelModule[] {
    const ordered = new Set<KernelModule>();
    const visit = (name: string, path: readonly string[]): void => {
      const module = this.find(name);
      if (!module || ordered.has(module)) return;
      if (path.includes(module.name)) throw new GuestError(`kernel modules need each other: ${path.join(', ')}`);
      for (const needed of module.depends) visit(needed, [...path, module.name]);
      ordered.add(module);
    };
    for (const name of names) visit(name, []);
    return [...ordered];
  }

  private read(file: string): Uint8Array {
    const bytes = readFileSync(join(this.folder, file));
    const format = formatOf(bytes);
    return format ? unpack(format, bytes, undefined, 0) : bytes;
  }
}
