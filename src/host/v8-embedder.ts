/**
 * V8's interface for embedders to the machine code of WebAssembly modules (v8::WasmModuleCompilation and v8::CompiledWasmModule in
 * its include/v8-wasm.h), called through node:ffi: Node exports the functions to its native modules. Not through koffi, which
 * calls on a stack of its own, where V8's garbage collector would look for pointers in vain.
 *
 * The callers see to it that code is what V8 itself once gave, for the same module: V8 does not look.
 */
import v8 from 'node:v8';
import { At, CALLED_BACK, CALLED_FROM_THERE, HANDED_OVER, INVOKER, MANAGER, PAGE } from './v8-callbacks.ts';

type Ffi = typeof import('node:ffi');
type Bytes = Uint8Array<ArrayBuffer>;

/** The V8 whose header the layouts are from. With another one, read it again before changing this. */
export const V8_OF_LAYOUTS = '14.6.202.34-node.34';

/** Flags of V8 that are on, unless the process was started otherwise. */
type V8Flag = 'liftoff' | 'wasm-lazy-compilation' | 'wasm-async-compilation';

/** V8 reads these whenever they matter. Its tag, which has a hash of all flags, is afterwards as it was before. */
export function withoutFlags<T>(flags: readonly V8Flag[], work: () => T): T {
  const wereOn = flags.filter((flag) => {
    const before = v8.cachedDataVersionTag();
    v8.setFlagsFromString(`--no-${flag}`);
    return v8.cachedDataVersionTag() !== before;
  });
  try {
    return work();
  } finally {
    for (const flag of wereOn) v8.setFlagsFromString(`--${flag}`);
  }
}

/** Of this thread; null: there is none here. */
let bound: V8Embedder | null | undefined;

/** `undefined`: another V8, platform or C++ library than those whose layouts are known, or a Node without node:ffi. */
export function v8Embedder(): V8Embedder | undefined {
  if (bound === undefined) {
    bound = null;
    const known = process.platform === 'linux' && process.arch === 'x64' && process.versions.v8 === V8_OF_LAYOUTS;
    try {
      if (known) bound = new V8Embedder(process.getBuiltinModule('node:ffi'));
    } catch {
      // Started with --no-experimental-ffi, or no function of one of the names.
    }
  }
  return bound ?? undefined;
}

/** What V8 uses while nothing in JavaScript would keep it from being collected. */
const inUse = new Set<unknown>();

class V8Embedder {
  readonly #ffi: Ffi;
  readonly #call: ReturnType<typeof functionsOf>;
  /** Stays mapped: where V8 has refused some code, it may call back much later. */
  readonly #at: bigint;
  readonly #memory: DataView;

  constructor(ffi: Ffi) {
    const library = new ffi.DynamicLibrary(null);
    this.#ffi = ffi;
    this.#call = functionsOf(library);
    // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS; below, PROT_READ | PROT_EXEC.
    this.#at = this.#call.mmap(0n, BigInt(2 * PAGE), 3, 0x22, -1, 0n);
    if (this.#at === 0xffff_ffff_ffff_ffffn) throw new Error('no memory');
    const memory = ffi.toArrayBuffer(this.#at, 2 * PAGE, false);
    this.#memory = new DataView(memory);
    let free: number = At.code;
    const place = (code: readonly number[]): bigint => {
      const at = free;
      new Uint8Array(memory, at).set(code);
      free = (at + code.length + 15) & ~15;
      return this.#address(at);
    };
    const manager = place(CALLED_BACK.manage);
    for (const name of ['giveCode', 'takeModule', 'takeCode'] as const) {
      this.#set(At[name], this.#at);
      this.#set(At[name] + MANAGER, manager);
      this.#set(At[name] + INVOKER, place(CALLED_BACK[name]));
    }
    if (this.#call.mprotect(this.#address(At.code), BigInt(PAGE), 5) !== 0) throw new Error('no executable memory');
    for (const name of Object.keys(CALLED_FROM_THERE) as (keyof typeof CALLED_FROM_THERE)[]) {
      this.#set(At[name], library.getSymbol(CALLED_FROM_THERE[name]));
    }
  }

  /** The machine code of a module's optimized functions in this process; `undefined`: it has none. Throws what is not a module. */
  serialize(wireBytes: Bytes): Bytes | undefined {
    // V8 keeps one compiled module for the same bytes, as long as one of its users lives.
    const user = new WebAssembly.Module(wireBytes);
    inUse.add(user);
    // So the result comes while #compile runs.
    withoutFlags(['wasm-async-compilation'], () => this.#call.construct(this.#address(At.compilation)));
    this.#set(At.owned, 0n);
    this.#compile(wireBytes, At.noFunction, At.takeCode);
    inUse.delete(user);
    const buffer = this.#get(At.owned);
    if (buffer === 0n) return undefined;
    const length = Number(this.#get(At.owned + 8));
    const code = length > 0 ? new Uint8Array(this.#ffi.toArrayBuffer(buffer, length)) : undefined;
    this.#call.deleteArray(buffer);
    return code;
  }

  /** The module with that code; `undefined`: V8 has refused it. */
  load(wireBytes: Bytes, code: Bytes): WebAssembly.Module | undefined {
    this.#call.construct(this.#address(At.compilation));
    this.#call.setHasCompiledModuleBytes(this.#address(At.compilation));
    this.#set(At.giveCode, this.#ffi.getRawPointer(code));
    this.#set(At.giveCode + 8, BigInt(code.length));
    inUse.add(code);
    this.#compile(wireBytes, At.giveCode, At.takeModule);
    inUse.delete(code);
    const global = globalThis as Record<number, unknown>;
    const module = global[HANDED_OVER];
    delete global[HANDED_OVER];
    return module instanceof WebAssembly.Module ? module : undefined;
  }

  #compile(wireBytes: Bytes, giveCode: number, takeResult: number): void {
    const compilation = this.#address(At.compilation);
    const isolate = this.#call.getCurrentIsolate();
    this.#call.onBytesReceived(compilation, wireBytes, BigInt(wireBytes.length));
    this.#set(At.isolate, isolate);
    this.#call.finish(compilation, isolate, this.#address(giveCode), this.#address(takeResult));
    this.#set(At.isolate, 0n);
    this.#call.destruct(compilation);
  }

  #address(offset: number): bigint {
    return this.#at + BigInt(offset);
  }

  #get(offset: number): bigint {
    return this.#memory.getBigUint64(offset, true);
  }

  #set(offset: number, value: bigint): void {
    this.#memory.setBigUint64(offset, value, true);
  }
}

function functionsOf(library: InstanceType<Ffi['DynamicLibrary']>) {
  const compilation = '_ZN2v821WasmModuleCompilation';
  const finish =
    '6FinishEPNS_7IsolateERKSt8functionIFvRNS_13WasmStreaming22ModuleCachingInterfaceEEE' +
    'RKS3_IFvSt7variantIJNS_5LocalINS_16WasmModuleObjectEEENSC_INS_5ValueEEEEEEE';
  // A "function" is a pointer; with one among its parameters, node:ffi never calls without a frame that V8 knows.
  const pointer = { return: 'void', arguments: ['function'] } as const;
  // biome-ignore format: a table
  return {
    getCurrentIsolate:         library.getFunction('_ZN2v87Isolate10GetCurrentEv', { return: 'pointer' }),
    construct:                 library.getFunction(`${compilation}C1Ev`, pointer),
    setHasCompiledModuleBytes: library.getFunction(`${compilation}25SetHasCompiledModuleBytesEv`, pointer),
    onBytesReceived:           library.getFunction(`${compilation}15OnBytesReceivedEPKhm`,
                                 { return: 'void', arguments: ['function', 'pointer', 'uint64'] }),
    finish:                    library.getFunction(`${compilation}${finish}`,
                                 { return: 'void', arguments: ['function', 'pointer', 'pointer', 'pointer'] }),
    destruct:                  library.getFunction(`${compilation}D1Ev`, pointer),
    deleteArray:               library.getFunction('_ZdaPv', pointer),
    mmap:                      library.getFunction('mmap',
                                 { return: 'pointer', arguments: ['pointer', 'uint64', 'int32', 'int32', 'int32', 'int64'] }),
    mprotect:                  library.getFunction('mprotect', { return: 'int32', arguments: ['pointer', 'uint64', 'int32'] }),
  };
}
