/**
 * Machine code that V8's optimizing compiler made of a WebAssembly module, as bytes that another process with the same V8, flags
 * and CPU takes instead of compiling. JavaScript has no such interface; v8-embedder.ts calls V8's, on one platform and with one V8.
 * Anywhere else, and with bytes that are not as expected, every answer is `undefined`, and the caller compiles as usual. Why this
 * is acceptable: docs/decisions/0019-machine-code-in-files.md.
 *
 * Node warns once in each thread that node:ffi is experimental (`--disable-warning=ExperimentalWarning`).
 */
import { createHash } from 'node:crypto';
import v8 from 'node:v8';
import { v8Embedder, withoutFlags } from './v8-embedder.ts';

type Bytes = Uint8Array<ArrayBuffer>;

// What comes before V8's bytes: its tag of version, flags and CPU features (u32, little-endian), 4 bytes of zero, a SHA-256.
const TAG = 0;
const HASH = 8;
const HEADER_BYTES = 40;

/** Can machine code be had and taken here at all? */
export const codeCanBeKept = (): boolean => v8Embedder() !== undefined;

/**
 * Has every function compiled by the optimizing compiler before it returns: a second for a megabyte. For a process that does
 * nothing else, since meanwhile no other module of it would be compiled as usual; and that was started with --no-wasm-inlining,
 * as monitors are: what is to be inlined would be decided by calls that nobody has counted. Elsewhere nothing is optimized.
 */
export function compileOptimized(wireBytes: Bytes): WebAssembly.Module {
  const flags = process.execArgv.includes('--no-wasm-inlining') ? (['liftoff', 'wasm-lazy-compilation'] as const) : [];
  return withoutFlags(flags, () => new WebAssembly.Module(wireBytes));
}

/**
 * The machine code of those functions of a module that are optimized in this process (by compileOptimized, or since they were
 * hot), for moduleWithCode in a process with the same V8 flags. `undefined`: there are none, or it cannot be done here.
 */
export function serializeCode(wireBytes: Bytes): Bytes | undefined {
  const tag = v8.cachedDataVersionTag();
  const code = v8Embedder()?.serialize(wireBytes);
  if (code === undefined) return undefined;
  const file = new Uint8Array(HEADER_BYTES + code.length);
  new DataView(file.buffer).setUint32(TAG, tag, true);
  file.set(code, HEADER_BYTES);
  file.set(hashOf(wireBytes, file), HASH);
  return file;
}

/**
 * A module whose optimized functions need not be compiled; the others are as in any module. `undefined`: the code is damaged, or
 * another module's, another V8's or CPU's, or was made under other V8 flags.
 */
export function moduleWithCode(wireBytes: Bytes, code: Bytes): WebAssembly.Module | undefined {
  if (code.length <= HEADER_BYTES) return undefined;
  const tag = new DataView(code.buffer, code.byteOffset).getUint32(TAG, true);
  // V8 would refuse these too, but go on and compile; it believes all else.
  if (tag !== v8.cachedDataVersionTag()) return undefined;
  if (!hashOf(wireBytes, code).equals(code.subarray(HASH, HEADER_BYTES))) return undefined;
  return v8Embedder()?.load(wireBytes, code.subarray(HEADER_BYTES));
}

/** What the tag does not have: numbers in the code stand for functions of this very program. */
const build = JSON.stringify([process.version, process.versions, process.arch, process.config]);

/** Of the build of Node, of the module, and of all of `file` but the place for the hash. */
function hashOf(wireBytes: Bytes, file: Bytes): Buffer {
  const hash = createHash('sha256').update(`${build} ${wireBytes.length} `).update(wireBytes);
  return hash.update(file.subarray(0, HASH)).update(file.subarray(HEADER_BYTES)).digest();
}
