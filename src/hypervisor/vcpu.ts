/**
 * One virtual CPU as the hypervisor sees it: its state block, what the guest has registered for it, and access to guest
 * memory through its kernel page tables. Owns no policy: traps/, mmu/ and emulate/ act on it, run.ts drives it.
 * Registers live in the state block (x86/state.ts), shared with the engine; everything here besides is listed field by field
 * so that save and restore can name it (design 3, "one inventory of state"). Follows pv-abi 1.6 and 3.1.
 */
import { FLAT, MACH2PHYS_SECOND, SHUTDOWN, VIRQ, VMASST } from '../abi/numbers.ts';
import type { Engine } from '../x86/engine.ts';
import { readFlags, writeFlags } from '../x86/flags.ts';
import { GPR, SEG, STATE } from '../x86/state.ts';
import { CONTROL_VCPU, controlVcpu } from './control.ts';
import type { Domain } from './domain.ts';
import { GATES } from './gates.ts';
import { type GuestMemory, PAGE_SIZE } from './memory.ts';
import { inHole, NO_ROOT, Walker } from './mmu/walk.ts';
import { Pace } from './pace.ts';
import type { GuestCpu } from './ports.ts';
import { Runstate } from './runstate.ts';
import { VcpuTimers } from './timers.ts';
import { Trace } from './trace.ts';
import { Callbacks, TrapTable } from './traps/trap-table.ts';
import { loadContext } from './vcpu-context.ts';

/** Longest single copy between guest and hypervisor; the largest real one is a vcpu_guest_context. */
const COPY_MAX = 1 << 20;

export class Vcpu implements GuestCpu {
  readonly id: number;
  readonly domain: Domain;
  readonly memory: GuestMemory;
  /** Linear-memory address of the state block. */
  readonly base: number;
  readonly engine: Engine;
  readonly walker: Walker;
  readonly trace: Trace;
  readonly timers: VcpuTimers;
  readonly runstate = new Runstate();

  // What the guest has registered (pv-abi 1.6, 2).
  readonly traps: TrapTable;
  readonly callbacks: Callbacks;
  gdtFrames: readonly number[] = [];
  ldtBase = 0n;
  ldtEntries = 0;
  viopl = 0;
  /** Guest address and size in ports of the I/O permission bitmap; 0 ports: none. */
  ioBitmap = { va: 0n, ports: 0 };
  /** Virtual DR0–DR7; 4 and 5 stay unused. */
  readonly debug = new BigUint64Array([0n, 0n, 0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n]);
  /** CR4 bits that the guest chose (TSD, DE, FSGSBASE, OSXSAVE). */
  cr4 = 0;
  xcr0 = 1n;
  /** Latch of port 0xcf8. */
  pciAddress = 0;

  // Scheduling.
  initialised = false;
  up = false;
  paused = false;
  /** Domain clock (ns) at which the run loop returns although there is more to run: its caller limits CPU time. */
  runUntil = Number.POSITIVE_INFINITY;
  /** How long it runs until the next look at the clock. */
  pace = new Pace();
  private nmiWaits = false;
  private nmiRuns = false;
  blocked = false;
  pollPorts: readonly number[] | undefined = undefined;
  pollTimeout = Number.POSITIVE_INFINITY;
  /** A multicall is running: hypercalls that end it (iret) say so here. */
  inMulticall = false;
  /** See continuation.ts. */
  work = Number.POSITIVE_INFINITY;
  continued = false;
  /** A hypercall has replaced the register state (iret): there is no result to store. */
  noResult = false;

  constructor(domain: Domain, id: number, engine: Engine) {
    this.id = id;
    this.domain = domain;
    this.memory = domain.memory;
    this.base = domain.memory.vcpuBase(id);
    this.engine = engine;
    this.walker = new Walker(domain.memory);
    this.trace = new Trace(domain.memory, this.base);
    this.traps = new TrapTable(domain.memory, this.base);
    this.callbacks = new Callbacks(domain.memory, this.base);
    this.setU32(GATES.infoPointer, controlVcpu(id, CONTROL_VCPU.infoAddress));
    this.timers = new VcpuTimers(
      () => domain.events.raiseVirq(id, VIRQ.TIMER),
      () => {
        domain.shutdown ??= { reason: SHUTDOWN.watchdog };
      },
    );
    domain.vcpus[id] = this;
    domain.types.released = (mfn, level) => engine.tableReleased(mfn, level);
  }

  // Registers. -------------------------------------------------------------------------------------------------------

  u32(offset: number): number {
    return this.memory.u32[(this.base + offset) >>> 2]!;
  }

  setU32(offset: number, value: number): void {
    this.memory.u32[(this.base + offset) >>> 2] = value;
  }

  u64(offset: number): bigint {
    return this.memory.u64[(this.base + offset) >>> 3]!;
  }

  setU64(offset: number, value: bigint): void {
    this.memory.u64[(this.base + offset) >>> 3] = value;
  }

  /** General register `i` (GPR in x86/state.ts), unsigned. */
  reg64(i: number): bigint {
    return this.u64(STATE.gpr + 8 * i);
  }

  setReg64(i: number, value: bigint): void {
    this.setU64(STATE.gpr + 8 * i, value);
  }

  /** Unsigned, as a double: exact below 2^53. */
  regNumber(i: number): number {
    const at = (this.base + STATE.gpr + 8 * i) >>> 2;
    return this.memory.u32[at]! + this.memory.u32[at + 1]! * 0x1_0000_0000;
  }

  regLo(i: number): number {
    return this.memory.u32[(this.base + STATE.gpr + 8 * i) >>> 2]!;
  }

  regHi(i: number): number {
    return this.memory.u32[(this.base + STATE.gpr + 8 * i + 4) >>> 2]!;
  }

  /** Write both halves of the 64-bit field at `offset`. */
  setPair(offset: number, lo: number, hi: number): void {
    const at = (this.base + offset) >>> 2;
    this.memory.u32[at] = lo;
    this.memory.u32[at + 1] = hi;
  }

  /** A 32-bit register write zeroes the upper half. */
  setReg32(i: number, value: number): void {
    this.setPair(STATE.gpr + 8 * i, value, 0);
  }

  /** A hypercall's signed 64-bit result. */
  setResult(value: number | bigint): void {
    if (typeof value === 'bigint') this.setReg64(GPR.rax, BigInt.asUintN(64, value));
    else this.setPair(STATE.gpr + 8 * GPR.rax, value >>> 0, Math.floor(value / 0x1_0000_0000) >>> 0);
  }

  get rip(): bigint {
    return this.u64(STATE.rip);
  }

  set rip(value: bigint) {
    this.setU64(STATE.rip, value);
  }

  /** Move RIP by some bytes: past an instruction, or back to it. */
  skip(bytes: number): void {
    this.rip = BigInt.asUintN(64, this.rip + BigInt(bytes));
  }

  get flags(): number {
    return readFlags(this.memory.view, this.base);
  }

  set flags(value: number) {
    writeFlags(this.memory.view, this.base, value);
  }

  selector(slot: number): number {
    return this.u32(STATE.selector + 4 * slot) & 0xffff;
  }

  setSelector(slot: number, value: number): void {
    this.setU32(STATE.selector + 4 * slot, value & 0xffff);
  }

  // Gates. -----------------------------------------------------------------------------------------------------------

  get kernelSpLo(): number {
    return this.u32(GATES.kernelSp);
  }

  get kernelSpHi(): number {
    return this.u32(GATES.kernelSp + 4);
  }

  get kernelSs(): number {
    return this.u32(GATES.kernelSs);
  }

  set kernelSs(selector: number) {
    this.setU32(GATES.kernelSs, selector);
  }

  setKernelSp(lo: number, hi: number): void {
    this.setPair(GATES.kernelSp, lo, hi);
  }

  get gdtEntries(): number {
    return this.u32(GATES.gdtEntries);
  }

  /** Descriptors 0 to `entries`, 512 in each frame. */
  setGdt(frames: readonly number[], entries: number): void {
    this.gdtFrames = frames;
    this.setU32(GATES.gdtEntries, entries);
    this.setU32(GATES.gdtFrame, frames[0] ?? 0);
  }

  get nmiPending(): boolean {
    return this.nmiWaits;
  }

  set nmiPending(value: boolean) {
    this.nmiWaits = value;
    this.updateSpecial();
  }

  /** From an NMI's delivery to the next iret. */
  get nmiBlocked(): boolean {
    return this.nmiRuns;
  }

  set nmiBlocked(value: boolean) {
    this.nmiRuns = value;
    this.updateSpecial();
  }

  /** Tell the fast paths whether they may be used: they know neither NMIs nor IOPL. */
  updateSpecial(): void {
    this.setU32(GATES.special, this.nmiWaits || this.nmiRuns || this.architecturalIopl ? 1 : 0);
  }

  // Mode and page-table roots. ---------------------------------------------------------------------------------------

  get kernelMode(): boolean {
    return this.u32(STATE.kernelMode) !== 0;
  }

  /** Switch between guest kernel and guest user mode: the page-table root and the active GS base change with it (3.1). */
  setKernelMode(kernel: boolean): void {
    if (kernel === this.kernelMode) return;
    const { u32 } = this.memory;
    const active = (this.base + STATE.gsBase) >>> 2;
    const leaves = (this.base + (kernel ? STATE.gsBaseUser : STATE.gsBaseKernel)) >>> 2;
    const enters = (this.base + (kernel ? STATE.gsBaseKernel : STATE.gsBaseUser)) >>> 2;
    u32[leaves] = u32[active]!;
    u32[leaves + 1] = u32[active + 1]!;
    u32[active] = u32[enters]!;
    u32[active + 1] = u32[enters + 1]!;
    this.setU32(STATE.kernelMode, kernel ? 1 : 0);
    this.engine.modeChanged();
  }

  /** GS base of the mode that is not running now. */
  get inactiveGsBase(): bigint {
    return this.u64(this.kernelMode ? STATE.gsBaseUser : STATE.gsBaseKernel);
  }

  set inactiveGsBase(value: bigint) {
    this.setU64(this.kernelMode ? STATE.gsBaseUser : STATE.gsBaseKernel, value);
  }

  get kernelRoot(): number {
    return this.u32(STATE.kernelRoot);
  }

  get userRoot(): number {
    return this.u32(STATE.userRoot);
  }

  get hasUserRoot(): boolean {
    return this.userRoot !== NO_ROOT;
  }

  /** vm_assist type 4: the guest kernel sees IOPL in its flags and runs as if at CPL 0. */
  get architecturalIopl(): boolean {
    return (this.domain.vmAssist & (1 << VMASST.architectural_iopl)) !== 0;
  }

  // vcpu_info. -------------------------------------------------------------------------------------------------------

  /** Linear-memory address of the vcpu_info in use: the shared_info slot or what VCPUOP_register_vcpu_info named. */
  get infoAddress(): number {
    return this.domain.events.infoAddress(this.id);
  }

  /** evtchn_upcall_mask, 0 or not. */
  get upcallMask(): number {
    return this.memory.u8[this.infoAddress + 1]!;
  }

  set upcallMask(value: number) {
    this.memory.u8[this.infoAddress + 1] = value;
  }

  /** Is an upcall to be made at the next return to the guest? */
  get upcallDue(): boolean {
    const info = this.infoAddress;
    return this.memory.u8[info] !== 0 && this.memory.u8[info + 1] === 0;
  }

  setCr2(va: bigint): void {
    this.setU64(STATE.cr2, va);
    this.memory.u64[(this.infoAddress + 0x10) / 8] = va;
  }

  // Guest memory, through the kernel page tables. --------------------------------------------------------------------

  /** Linear-memory address of guest-virtual hi:lo, good to the end of its page; 0 when it cannot be accessed. */
  translate(lo: number, hi: number, write: boolean): number {
    if (inHole(hi)) return write ? 0 : this.m2pAddress(lo, hi);
    return this.walker.translate(this.kernelRoot, lo, hi, write);
  }

  private m2pAddress(lo: number, hi: number): number {
    const { memory } = this;
    const offset = lo >>> 0 < MACH2PHYS_SECOND ? lo >>> 0 : (lo >>> 0) - MACH2PHYS_SECOND;
    if (hi >>> 0 !== 0xffff_8000 || offset >= this.u32(STATE.m2pPages) * 8) return 0;
    return memory.at(this.u32(STATE.m2pFrame)) + offset;
  }

  /** A private copy of guest-virtual memory; undefined when any of it is not readable (-EFAULT). */
  readGuest(va: bigint, length: number): Uint8Array | undefined {
    if (length < 0 || length > COPY_MAX) return undefined;
    const out = new Uint8Array(length);
    return this.readInto(va, out) ? out : undefined;
  }

  /** Fill `out` from guest-virtual memory; false after a fault. */
  readInto(va: bigint, out: Uint8Array): boolean {
    let lo = Number(va & 0xffff_ffffn);
    let hi = Number((va >> 32n) & 0xffff_ffffn);
    for (let done = 0; done < out.length; ) {
      const from = this.translate(lo, hi, false);
      if (from === 0) return false;
      const n = Math.min(out.length - done, PAGE_SIZE - (lo & 0xfff));
      out.set(this.memory.u8.subarray(from, from + n), done);
      done += n;
      const next = lo + n;
      lo = next >>> 0;
      if (next > 0xffff_ffff) hi = (hi + 1) >>> 0;
    }
    return true;
  }

  /** Write guest-virtual memory; false when any of it is not writable, and then nothing was written. */
  writeGuest(va: bigint, bytes: Uint8Array): boolean {
    if (bytes.length > COPY_MAX) return false;
    const lo = Number(va & 0xffff_ffffn);
    const hi = Number((va >> 32n) & 0xffff_ffffn);
    // The common case, one page, needs no second look.
    if ((lo & 0xfff) + bytes.length <= PAGE_SIZE) {
      const to = bytes.length === 0 ? 1 : this.translate(lo, hi, true);
      if (to === 0) return false;
      if (bytes.length > 0) this.store(to, bytes);
      return true;
    }
    return this.writePages(lo, hi, bytes, false) && this.writePages(lo, hi, bytes, true);
  }

  private writePages(startLo: number, startHi: number, bytes: Uint8Array, commit: boolean): boolean {
    let lo = startLo;
    let hi = startHi;
    for (let done = 0; done < bytes.length; ) {
      const to = this.translate(lo, hi, true);
      if (to === 0) return false;
      const n = Math.min(bytes.length - done, PAGE_SIZE - (lo & 0xfff));
      if (commit) this.store(to, bytes.subarray(done, done + n));
      done += n;
      const next = lo + n;
      lo = next >>> 0;
      if (next > 0xffff_ffff) hi = (hi + 1) >>> 0;
    }
    return true;
  }

  private store(to: number, bytes: Uint8Array): void {
    this.memory.u8.set(bytes, to);
    this.frameTouched(Math.floor((to - this.memory.layout.ramBase) / PAGE_SIZE));
  }

  /** The hypervisor wrote into this frame: code decoded from it is stale. */
  frameTouched(mfn: number): void {
    if (this.memory.frameFlags[mfn] !== 0) this.engine.frameWritten(mfn);
  }

  readU32(va: bigint): number | undefined {
    const bytes = this.readGuest(va, 4);
    return bytes && new DataView(bytes.buffer).getUint32(0, true);
  }

  readU64(va: bigint): bigint | undefined {
    const bytes = this.readGuest(va, 8);
    return bytes && new DataView(bytes.buffer).getBigUint64(0, true);
  }

  writeU32(va: bigint, value: number): boolean {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    return this.writeGuest(va, bytes);
  }

  writeU64(va: bigint, value: bigint): boolean {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return this.writeGuest(va, bytes);
  }

  // Life. ------------------------------------------------------------------------------------------------------------

  /** VCPUOP_initialise: take over a vcpu_guest_context; 0 or a negative errno. The vCPU stays down. */
  initialise(context: DataView): number {
    return loadContext(this, context);
  }

  /** Selectors of the 64-bit flat kernel context, as every entry into the guest kernel has them. */
  enterKernelSegments(): void {
    this.setSelector(SEG.cs, FLAT.ring3Cs64);
    this.setSelector(SEG.ss, FLAT.ring3Ss);
  }
}
