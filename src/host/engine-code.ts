/**
 * The WebAssembly that every engine of one memory layout begins with: the interpreter, and handlers for the common shapes of
 * instructions that have no arm in it. Making it takes longer than all else at a monitor's start, so it is kept: in the process,
 * and in a folder of files, where each start of a domain finds what the first has made.
 *
 * A file's name is a hash of our own sources and of the layout; it begins with a hash of its content. What does not
 * agree with that is not there. Nothing of a guest's goes into it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MemoryLayout } from '../hypervisor/memory.ts';
import type { BuildExitPaths } from '../translate/exit-paths.ts';
import { ARM_CODE } from '../translate/interpreter/arms.ts';
import { COMMON_CODE } from '../translate/interpreter/common-shapes.ts';
import { decodeTables } from '../translate/interpreter/decode-tables.ts';
import { generateHandlers, generateInterpreter } from '../translate/interpreter/generate.ts';
import { shapeKey } from '../translate/interpreter/shape.ts';
import { SEMANTICS } from '../translate/semantics/index.ts';
import { decode, type Insn } from '../x86/decode.ts';
import { writeAtomically } from './atomic-file.ts';

export interface EngineCode {
  readonly interpreter: Uint8Array<ArrayBuffer>;
  /** Exports "0", "1", … are the handlers of COMMON. */
  readonly handlers: Uint8Array<ArrayBuffer>;
  /** What belongs at DECODER of each vCPU. */
  readonly tables: Uint8Array<ArrayBuffer>;
}

/** Decodes example instructions: one for each shape that is not in `known` yet. */
function examples(code: readonly string[], known: Set<string>): Insn[] {
  return code.flatMap((hex) => {
    const bytes = new Uint8Array(32);
    bytes.set(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    const insn = decode(bytes, 0, bytes.length);
    if (typeof insn === 'string') throw new Error(`example ${hex} does not decode`);
    const key = shapeKey(insn);
    if (known.has(key)) return [];
    known.add(key);
    return [insn];
  });
}

const known = new Set<string>();
/** Instructions whose shapes are arms of the interpreter's loop. */
export const ARMS: readonly Insn[] = examples(ARM_CODE, known).filter(({ mnemonic }) => SEMANTICS[mnemonic]);
/** Instructions whose shapes have handlers from the start. */
export const COMMON: readonly Insn[] = examples(COMMON_CODE, known);

const made = new Map<string, EngineCode>();

export interface CodeOptions {
  /** Where the code is kept, if anywhere. */
  readonly folder?: string | undefined;
  /** As generateInterpreter wants it; its name stands for it in the files' names, with all sources of its folder. */
  readonly exitPaths?: BuildExitPaths | undefined;
  /** As generateInterpreter wants it; 0 if it is not there. */
  readonly warm?: number | undefined;
}

/** The code for a layout; `threshold` as generateInterpreter wants it. */
export function engineCode(
  layout: MemoryLayout,
  threshold: number,
  { folder, exitPaths, warm = 0 }: CodeOptions = {},
): EngineCode {
  const what = JSON.stringify([layout, threshold, warm, exitPaths?.name]);
  let code = made.get(what);
  if (code === undefined) {
    const file = folder && path.join(folder, `${hash(`${sourceHash()} ${what}`).toString('hex')}.code`);
    code = file ? load(file) : undefined;
    if (code === undefined) {
      code = generate(layout, threshold, warm, exitPaths);
      if (file) keep(file, code);
    }
    made.set(what, code);
  }
  return code;
}

/** For tests: as if the process had just begun. */
export function forgetEngineCode(): void {
  made.clear();
}

function generate(layout: MemoryLayout, threshold: number, warm: number, exitPaths?: BuildExitPaths): EngineCode {
  return {
    interpreter: generateInterpreter(layout, ARMS, threshold, warm, exitPaths),
    handlers: generateHandlers(layout, COMMON),
    tables: decodeTables(),
  };
}

const hash = (content: string | Uint8Array): Buffer => createHash('sha256').update(content).digest();

/** Where sources have been joined into one file (xend/monitor-program.ts), it begins with their hash: they are not at hand any more. */
interface Joined {
  readonly domusSources?: string;
}
export const joinedFrom = (sources: string): string => `globalThis.domusSources = ${JSON.stringify(sources)};`;

/** A hash, 64 hexadecimal digits, of every source that generated code depends on. */
export function sourceHash(): string {
  const { domusSources } = globalThis as Joined;
  if (domusSources !== undefined) return domusSources;
  const root = fileURLToPath(new URL('..', import.meta.url));
  const sources = ['abi', 'wasm', 'x86', 'translate', 'hypervisor'].flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => path.join(folder, name)),
  );
  const all = createHash('sha256');
  for (const name of sources.sort()) {
    if (!/(?<!\.test)\.[jt]s$/.test(name)) continue;
    all.update(`${name}\0`).update(readFileSync(path.join(root, name)));
  }
  return all.digest('hex');
}

// Files: SHA-256 of the rest, three lengths (u32), interpreter, handlers, tables. -------------------------------------------

const HASH_BYTES = 32;
const HEAD_BYTES = HASH_BYTES + 3 * 4;
/** Memory sizes times versions; 0.4 MB each. */
const FILES_MAX = 16;

function load(file: string): EngineCode | undefined {
  try {
    const bytes = readFileSync(file);
    if (!hash(bytes.subarray(HASH_BYTES)).equals(bytes.subarray(0, HASH_BYTES))) return undefined;
    let at = HEAD_BYTES;
    const part = (k: number): Uint8Array<ArrayBuffer> => {
      const length = bytes.readUInt32LE(HASH_BYTES + 4 * k);
      at += length;
      return new Uint8Array(bytes.subarray(at - length, at));
    };
    return { interpreter: part(0), handlers: part(1), tables: part(2) };
  } catch {
    return undefined;
  }
}

/** Keeping it saves time only: whatever goes wrong, the code is at hand. */
function keep(file: string, { interpreter, handlers, tables }: EngineCode): void {
  try {
    const folder = path.dirname(file);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const parts = [interpreter, handlers, tables];
    const head = Buffer.alloc(HEAD_BYTES);
    for (const [k, { length }] of parts.entries()) head.writeUInt32LE(length, HASH_BYTES + 4 * k);
    const bytes = Buffer.concat([head, ...parts]);
    hash(bytes.subarray(HASH_BYTES)).copy(bytes);
    writeAtomically(file, bytes);
    const age = (name: string): number => statSync(path.join(folder, name)).mtimeMs;
    const files = readdirSync(folder).toSorted((a, b) => age(b) - age(a));
    for (const name of files.slice(FILES_MAX)) rmSync(path.join(folder, name), { force: true });
  } catch {
    return;
  }
}
