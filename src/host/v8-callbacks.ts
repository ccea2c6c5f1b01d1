/**
 * What V8 calls back while it takes or gives machine code (v8-embedder.ts), itself in machine code, and the memory that it works on.
 * JavaScript will not do: where its thread is terminated while it is called back, Node aborts, and where a terminated thread
 * has held a compiled module, Node does not exit.
 *
 * Layouts: V8's include/v8-wasm.h; std::function and std::variant of libstdc++ (bits/std_function.h, variant). Registers: System V
 * ABI for x86-64, and the Itanium C++ ABI, by which a class with a destructor is returned to an address that is the first argument.
 */

export const PAGE = 4096;

/** Offsets in the memory of one thread, two pages. The second holds CALLED_BACK and can be executed. */
export const At = {
  /** The thread's v8::Isolate while a result is waited for, else 0: then takeModule and takeCode do nothing. */
  isolate: 0x00,
  // Addresses of what they call.
  getCurrentContext: 0x08,
  global: 0x10,
  set: 0x18,
  getCompiledModule: 0x20,
  serialize: 0x28,
  destroy: 0x30,
  /** v8::CompiledWasmModule: std::shared_ptr, std::string. */
  compiled: 0x40,
  /** v8::OwnedBuffer: std::unique_ptr<const uint8_t[]>, size_t. */
  owned: 0x70,
  /** v8::WasmModuleCompilation: std::unique_ptr. */
  compilation: 0x80,
  // std::function: 16 bytes that it holds, then the addresses of its manager and its invoker.
  giveCode: 0xa0,
  takeModule: 0xc0,
  takeCode: 0xe0,
  noFunction: 0x100,
  code: PAGE,
} as const;
export const MANAGER = 16;
export const INVOKER = 24;

/** The names of what they call, in the program. */
// biome-ignore format: a table
export const CALLED_FROM_THERE = {
  getCurrentContext: '_ZN2v87Isolate17GetCurrentContextEv',
  global:            '_ZN2v87Context6GlobalEv',
  set:               '_ZN2v86Object3SetENS_5LocalINS_7ContextEEEjNS1_INS_5ValueEEE',
  getCompiledModule: '_ZN2v816WasmModuleObject17GetCompiledModuleEv',
  serialize:         '_ZN2v818CompiledWasmModule9SerializeEv',
  /** std::destroy of what is between two addresses. */
  destroy:           '_ZNSt12_Destroy_auxILb0EE9__destroyIPN2v818CompiledWasmModuleEEEvT_S5_',
} as const;

/** The element of the global object that a module is handed over in. */
export const HANDED_OVER = 0;

/** The first argument, in rdi, is the address of what the std::function holds. Handles are made in a scope of V8's. */
// biome-ignore format: one instruction a line
export const CALLED_BACK = {
  /** The manager of all: copies what a function holds, from rsi to rdi. There is nothing to destroy. */
  manage: [
    0x0f, 0x10, 0x06,       // movups xmm0, [rsi]
    0x0f, 0x11, 0x07,       // movups [rdi], xmm0
    0x31, 0xc0,             // xor eax, eax
    0xc3,                   // ret
  ],
  /** Holds {pointer, size}. (ModuleCachingInterface&): SetCachedCompiledModuleBytes({pointer, size}), its second virtual function. */
  giveCode: [
    0x48, 0x8b, 0x57, 0x08, // mov rdx, [rdi+0x8]
    0x48, 0x8b, 0x07,       // mov rax, [rdi]
    0x48, 0x89, 0xf7,       // mov rdi, rsi
    0x48, 0x89, 0xc6,       // mov rsi, rax
    0x48, 0x8b, 0x07,       // mov rax, [rdi]
    0xff, 0x60, 0x08,       // jmp [rax+0x8]
  ],
  /** Holds {memory}. (variant<Local<WasmModuleObject>, Local<Value>>): GetCurrentContext()->Global()->Set(context, HANDED_OVER, module) */
  takeModule: [
    0x53,                   // push rbx
    0x41, 0x54,             // push r12
    0x41, 0x55,             // push r13
    0x48, 0x8b, 0x1f,       // mov rbx, [rdi]
    0x80, 0x7e, 0x08, 0x00, // cmp [rsi+0x8], 0x0; behind a pointer, which of the variant it is
    0x75, 0x26,             // jne done
    0x48, 0x83, 0x3b, 0x00, // cmp [rbx], 0x0
    0x74, 0x20,             // je done
    0x4c, 0x8b, 0x26,       // mov r12, [rsi]
    0x48, 0x8b, 0x3b,       // mov rdi, [rbx]
    0xff, 0x53, 0x08,       // call [rbx+0x8]
    0x49, 0x89, 0xc5,       // mov r13, rax
    0x48, 0x89, 0xc7,       // mov rdi, rax
    0xff, 0x53, 0x10,       // call [rbx+0x10]
    0x48, 0x89, 0xc7,       // mov rdi, rax
    0x4c, 0x89, 0xee,       // mov rsi, r13
    0x31, 0xd2,             // xor edx, edx
    0x4c, 0x89, 0xe1,       // mov rcx, r12
    0xff, 0x53, 0x18,       // call [rbx+0x18]
    0x41, 0x5d,             // done: pop r13
    0x41, 0x5c,             // pop r12
    0x5b,                   // pop rbx
    0xc3,                   // ret
  ],
  /**
   * The same arguments: compiled = module.GetCompiledModule(), owned = compiled.Serialize(), then destroys `compiled`. A class
   * with a destructor is returned to the address in the first argument.
   */
  takeCode: [
    0x53,                   // push rbx
    0x48, 0x8b, 0x1f,       // mov rbx, [rdi]
    0x80, 0x7e, 0x08, 0x00, // cmp [rsi+0x8], 0x0
    0x75, 0x26,             // jne done
    0x48, 0x83, 0x3b, 0x00, // cmp [rbx], 0x0
    0x74, 0x20,             // je done
    0x48, 0x8b, 0x36,       // mov rsi, [rsi]
    0x48, 0x8d, 0x7b, 0x40, // lea rdi, [rbx+0x40]
    0xff, 0x53, 0x20,       // call [rbx+0x20]
    0x48, 0x8d, 0x7b, 0x70, // lea rdi, [rbx+0x70]
    0x48, 0x8d, 0x73, 0x40, // lea rsi, [rbx+0x40]
    0xff, 0x53, 0x28,       // call [rbx+0x28]
    0x48, 0x8d, 0x7b, 0x40, // lea rdi, [rbx+0x40]
    0x48, 0x8d, 0x73, 0x70, // lea rsi, [rbx+0x70]
    0xff, 0x53, 0x30,       // call [rbx+0x30]
    0x5b,                   // done: pop rbx
    0xc3,                   // ret
  ],
} as const satisfies Record<string, readonly number[]>;
